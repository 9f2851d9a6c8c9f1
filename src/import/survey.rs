//! The first look at all files: which instruments they hold, how fine their numbers are, and which way time runs.

use std::collections::HashMap;

use anyhow::{Context, bail};
use engine::{
    market::{Timestamp, Venue},
    number::{NumberError, Scale, parse_amount},
};
use store::{Scales, Source};

use super::rows::{Cells, Rows};
use crate::cli::ImportArgs;

/// More instruments than this in one import are a wrong symbol column.
const SOURCES_MAX: usize = 100_000;
/// Below this, a value that does not fit into 64 bits is refused; above, the scale gives way to it.
const FLOOR_DECIMALS: u8 = 8;

/// One instrument of the files.
pub struct Surveyed {
    /// Its name in the store.
    pub source: Source,
    /// What its integers count in: as fine as its instrument has it, or as the files need it.
    pub scales: Scales,
    /// For each file, whether its newest row comes first.
    pub is_newest_first: Vec<bool>,
}

/// Instruments by the text of the symbol column.
pub struct Survey {
    template: String,
    by_text: HashMap<Box<[u8]>, Option<usize>>,
    sources: Vec<Surveyed>,
}

/// How fine the numbers of a column are, and how large.
#[derive(Clone, Copy, Debug)]
struct Fineness {
    decimals: u8,
    whole_max: u128,
}

impl Fineness {
    const fn new(decimals: u8) -> Self {
        Self { decimals, whole_max: 0 }
    }

    fn see(&mut self, text: &[u8]) {
        loop {
            match parse_amount(text, self.decimals) {
                Err(NumberError::TooPrecise) if self.decimals < Scale::MAX => self.decimals += 1,
                Ok(value) => {
                    self.whole_max = self.whole_max.max(value / 10_u128.pow(u32::from(self.decimals)));
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// The finest scale of these decimals at which the largest value still fits into 64 bits, but at least `floor`.
    fn scale(self, floor: u8) -> Scale {
        let fits = |decimals: &u8| {
            let unit = 10_u128.pow(u32::from(*decimals));
            self.whole_max.saturating_add(1).saturating_mul(unit) <= i64::MAX as u128
        };
        let decimals = (floor.min(self.decimals)..=self.decimals).rev().find(fits);
        Scale::new(decimals.unwrap_or(floor.min(self.decimals))).unwrap_or(Scale::ZERO)
    }
}

/// What is seen of one instrument.
struct Seen {
    source: Source,
    known: Option<(u8, u8)>,
    price: Fineness,
    quantity: Fineness,
    /// Steps of time in the present file: forwards less backwards.
    steps: i64,
    last: Option<Timestamp>,
    is_newest_first: Vec<bool>,
}

impl Seen {
    fn new(source: Source) -> Self {
        let parts = source.as_str().split_once(':').and_then(|(venue, name)| Some((Venue::parse(venue)?, name)));
        let known = parts.filter(|(venue, _)| Venue::LIVE.contains(venue)).map(|(venue, name)| {
            let instrument = feeds::symbols::instrument(venue, name);
            (instrument.price_scale.decimals(), instrument.quantity_scale.decimals())
        });
        let (price, quantity) = known.unwrap_or((0, 0));
        Self {
            source,
            known,
            price: Fineness::new(price),
            quantity: Fineness::new(quantity),
            steps: 0,
            last: None,
            is_newest_first: Vec::new(),
        }
    }

    fn end_file(&mut self) {
        self.is_newest_first.push(self.steps < 0);
        (self.steps, self.last) = (0, None);
    }

    fn see(&mut self, cells: &Cells<'_>) {
        cells.prices.iter().for_each(|text| self.price.see(text));
        [cells.volume, cells.buy_volume].iter().flatten().for_each(|text| self.quantity.see(text));
        if let Ok(ts) = cells.time {
            self.steps += self.last.map_or(0, |last| (ts.0 > last.0) as i64 - (ts.0 < last.0) as i64);
            self.last = Some(ts);
        }
    }

    fn surveyed(self, args: &ImportArgs) -> Surveyed {
        let fixed = |decimals: u8| Scale::new(decimals).unwrap_or(Scale::ZERO);
        let floor = self.known.map_or(FLOOR_DECIMALS, |(price, _)| price);
        let price = args.price_scale.map_or_else(|| self.price.scale(floor), fixed);
        // Volumes have 128 bits.
        let quantity = args.quantity_scale.map_or_else(|| fixed(self.quantity.decimals), fixed);
        let scales = Scales { price, quantity };
        Surveyed { source: self.source, scales, is_newest_first: self.is_newest_first }
    }
}

impl Survey {
    /// Looks through all files.
    ///
    /// # Errors
    /// If a file cannot be read, `--symbol` is no source, or there are too many instruments.
    pub fn of(args: &ImportArgs, mut turn: impl FnMut(u64)) -> anyhow::Result<Self> {
        let template = args.symbol.clone();
        if template.contains("{symbol}") != args.columns.has_symbol() {
            bail!(
                "a symbol column and {{symbol}} in --symbol need each other: --symbol 'binance:{{symbol}}' --columns symbol=…"
            );
        }
        let mut survey = Self { template, by_text: HashMap::new(), sources: Vec::new() };
        let mut seen: Vec<Seen> = Vec::new();
        for (file, path) in args.files.iter().enumerate() {
            let mut rows = Rows::open(args, path)?;
            while let Some(row) = rows.next_row(&mut turn)? {
                let Ok(cells) = row.cells else { continue };
                let Some(index) = survey.find(cells.symbol, &mut seen)? else { continue };
                if let Some(seen) = seen.get_mut(index) {
                    seen.see(&cells);
                }
            }
            for seen in &mut seen {
                // One that comes up in this file for the first time was in no file before.
                while seen.is_newest_first.len() <= file {
                    seen.end_file();
                }
            }
        }
        survey.sources = seen.into_iter().map(|seen| seen.surveyed(args)).collect();
        Ok(survey)
    }

    fn find(&mut self, text: &[u8], seen: &mut Vec<Seen>) -> anyhow::Result<Option<usize>> {
        if let Some(index) = self.by_text.get(text) {
            return Ok(*index);
        }
        if self.by_text.len() >= SOURCES_MAX {
            bail!("more than {SOURCES_MAX} instruments: is the right column the symbol?");
        }
        let name = std::str::from_utf8(text).ok().map(|text| self.template.replace("{symbol}", text));
        let source = name.and_then(|name| Source::parse(&name).ok());
        if source.is_none() && !self.template.contains("{symbol}") {
            Source::parse(&self.template).context("--symbol")?;
        }
        let index = source.map(|source| {
            seen.push(Seen::new(source));
            seen.len() - 1
        });
        self.by_text.insert(text.into(), index);
        Ok(index)
    }

    /// The instrument that a row names, and its number.
    pub fn get(&self, symbol: &[u8]) -> Option<(usize, &Surveyed)> {
        let index = (*self.by_text.get(symbol)?)?;
        Some((index, self.sources.get(index)?))
    }

    /// All instruments.
    pub fn sources(&self) -> &[Surveyed] {
        &self.sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(known: u8, floor: u8, texts: &[&str], want: u8) {
        let mut fineness = Fineness::new(known);
        texts.iter().for_each(|text| fineness.see(text.as_bytes()));
        assert_eq!(fineness.scale(floor).decimals(), want, "{texts:?}");
    }

    #[test]
    fn a_scale_is_as_fine_as_the_file_needs_and_as_its_largest_value_allows() {
        check(0, 8, &["611.78", "611.8"], 2);
        check(10, 10, &["611.78"], 10);
        check(2, 2, &["0.000001"], 6);
        check(2, 2, &["1.5e-7"], 8);
        check(0, 8, &["nonsense", "", "-1", "7"], 0);
        // 17 decimals do not fit beside 60,000: the row that has them is refused, the others keep theirs.
        check(2, 2, &["60000.12", "1.00000000000000001"], 14);
        // Nor does one absurd value take the decimals of all others.
        check(2, 2, &["60000.12", "99999999999999999999"], 2);
    }
}

//! Which column of a CSV file holds what: names of the header row, or numbers from 1.

use engine::number::{NumberError::Malformed, Scale, parse_decimal};

/// How many columns of a row are looked at.
const COLUMNS_MAX: usize = 256;
const USE: &str = "use time=…,price=…[,quantity=…][,side=…|,buyer_maker=…][,id=…]";

/// `time=…,price=…`, as given on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    time: Option<Column>,
    price: Option<Column>,
    quantity: Option<Column>,
    side: Option<Column>,
    buyer_maker: Option<Column>,
    id: Option<Column>,
}

/// A column as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// By its name in the header row.
    Name(String),
    /// By its place, from 0.
    Place(usize),
}

/// Reads `role=column,…` into one place for each of `roles`; `help` is how to write it.
///
/// # Errors
/// A sentence that says what is wrong and how to write it.
pub fn assign<const N: usize>(text: &str, roles: [&str; N], help: &str) -> Result<[Option<Column>; N], String> {
    let mut columns = [const { None }; N];
    for part in text.split(',') {
        let (role, place) = part.split_once('=').ok_or_else(|| format!("{part:?} has no =; {help}"))?;
        let (role, place) = (role.trim(), place.trim());
        let slot = roles.iter().zip(&mut columns).find(|(known, _)| **known == role);
        let (_, slot) = slot.ok_or_else(|| format!("{role:?} is no role of a column; {help}"))?;
        let column = match place.parse::<usize>() {
            Ok(number) if (1..=COLUMNS_MAX).contains(&number) => Column::Place(number - 1),
            Ok(_) => return Err(format!("{part:?}: columns are numbered from 1 to {COLUMNS_MAX}")),
            Err(_) if place.is_empty() => return Err(format!("{part:?} names no column; {help}")),
            Err(_) => Column::Name(place.to_owned()),
        };
        if slot.replace(column).is_some() {
            return Err(format!("{role} is given twice; {help}"));
        }
    }
    Ok(columns)
}

/// The first row of a file: a header, if a column is asked for by its name.
pub struct Header<'a> {
    line: &'a [u8],
    fields: Vec<(usize, usize)>,
    /// Whether a column was found by its name.
    pub is_named: bool,
}

impl<'a> Header<'a> {
    /// Finds the fields.
    pub fn read(line: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        split(line, &mut fields);
        Self { line, fields, is_named: false }
    }

    /// The text of a field.
    pub fn text(&self, field: Field) -> Option<&'a [u8]> {
        field.of(self.line, &self.fields)
    }

    /// The place of a column.
    ///
    /// # Errors
    /// If no field has its name; says which names there are.
    pub fn find(&mut self, column: &Column) -> Result<Field, String> {
        let name = match column {
            Column::Place(place) => return Ok(Field(*place)),
            Column::Name(name) => name,
        };
        self.is_named = true;
        let text = |place| Some(String::from_utf8_lossy(self.text(Field(place))?).trim().to_owned());
        let names: Vec<String> = (0..self.fields.len()).filter_map(text).collect();
        let place = names.iter().position(|known| known == name);
        let known: String = names.join(", ").chars().take(300).collect();
        place.map(Field).ok_or_else(|| format!("no column is named {name:?}; the header has: {known}"))
    }
}

/// A column's place in a row, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(usize);

impl Field {
    /// The text of this field in `line`, whose fields were found by [`split`]; `None` in a row that is too short.
    pub fn of<'a>(self, line: &'a [u8], fields: &[(usize, usize)]) -> Option<&'a [u8]> {
        let (start, end) = fields.get(self.0)?;
        line.get(*start..*end)
    }
}

/// The places of all columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Time of the trade.
    pub time: Field,
    /// Price.
    pub price: Field,
    /// Quantity, if any.
    pub quantity: Option<Field>,
    /// The taker's side, if any.
    pub side: Option<Field>,
    /// Whether the buyer was the maker, if given.
    pub buyer_maker: Option<Field>,
    /// The trade's id, if any.
    pub id: Option<Field>,
}

impl Columns {
    /// Reads the value of `--columns`.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let roles = ["time", "price", "quantity", "side", "buyer_maker", "id"];
        let [time, price, quantity, side, buyer_maker, id] = assign(text, roles, USE)?;
        let columns = Self { time, price, quantity, side, buyer_maker, id };
        if columns.time.is_none() || columns.price.is_none() {
            return Err(format!("time and price are needed; {USE}"));
        }
        if columns.side.is_some() && columns.buyer_maker.is_some() {
            return Err(format!("side and buyer_maker say the same; give one of them: {USE}"));
        }
        Ok(columns)
    }

    /// Whether there is an id.
    pub fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Whether there is a quantity.
    pub fn has_quantity(&self) -> bool {
        self.quantity.is_some()
    }

    /// Whether a column says who took.
    pub fn has_side(&self) -> bool {
        self.side.is_some() || self.buyer_maker.is_some()
    }

    /// The places of the columns, and whether `first` is a header rather than a row.
    ///
    /// # Errors
    /// If a name is not in the header; says which are.
    pub fn resolve(&self, first: &[u8]) -> Result<(Layout, bool), String> {
        let mut header = Header::read(first);
        let mut optional = |column: &Option<Column>| column.as_ref().map(|column| header.find(column)).transpose();
        let (time, price) = (optional(&self.time)?, optional(&self.price)?);
        let (quantity, side) = (optional(&self.quantity)?, optional(&self.side)?);
        let (buyer_maker, id) = (optional(&self.buyer_maker)?, optional(&self.id)?);
        let (Some(time), Some(price)) = (time, price) else { return Err(USE.to_owned()) };
        let is_time = |text: &[u8]| Scale::new(0).is_some_and(|scale| parse_decimal(text, scale) != Err(Malformed));
        let is_header = header.is_named || !header.text(time).is_some_and(is_time);
        Ok((Layout { time, price, quantity, side, buyer_maker, id }, is_header))
    }
}

/// Finds the fields of a row: their starts and ends, without quotes and a byte order mark.
pub fn split(line: &[u8], fields: &mut Vec<(usize, usize)>) {
    fields.clear();
    let mut at = if line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    while at <= line.len() && fields.len() < COLUMNS_MAX {
        let rest = line.get(at..).unwrap_or_default();
        let quoted = rest.first() == Some(&b'"');
        let body = if quoted { rest.get(1..).unwrap_or_default() } else { rest };
        let stop = if quoted { b'"' } else { b',' };
        let length = body.iter().position(|&byte| byte == stop).unwrap_or(body.len());
        let start = at + usize::from(quoted);
        fields.push((start, start + length));
        let behind = body.get(length..).unwrap_or_default();
        let comma = behind.iter().position(|&byte| byte == b',').unwrap_or(behind.len());
        at = start + length + comma + 1;
    }
}

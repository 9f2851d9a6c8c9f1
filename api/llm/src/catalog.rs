//! The models that may be called, what they cost and by which names.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

use crate::{
    providers::Provider,
    request::{Capability, Reasoning},
    usage::Tokens,
};

const MILLION: u128 = 1_000_000;

/// What each bucket of tokens costs, in micros for a million: 150,000 is 0.15 KAI for a million, 0.15 micros for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Rates {
    /// Read and not cached.
    pub input: u64,
    /// Read from the provider's cache.
    pub cache_read: u64,
    /// Read and written to the provider's cache.
    pub cache_write: u64,
    /// Written; reasoning costs the same with every provider that is known.
    pub output: u64,
}

/// The price of a model. Every rate is stated: a price that nobody stated is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Price {
    /// The rates.
    #[serde(flatten)]
    pub rates: Rates,
    /// Other rates for all tokens of a call that reads more than so many.
    pub long: Option<LongPrice>,
}

/// Rates of calls that read much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct LongPrice {
    /// They hold if more tokens than these are read.
    pub input_tokens_above: u64,
    /// The rates.
    #[serde(flatten)]
    pub rates: Rates,
}

impl Price {
    /// The rates of a call that reads `input_total` tokens.
    #[must_use]
    pub fn rates(&self, input_total: u64) -> Rates {
        self.long.filter(|long| input_total > long.input_tokens_above).map_or(self.rates, |long| long.rates)
    }

    /// What `tokens` cost in micros: exact, and rounded up once. `None` is more than 64 bits hold.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens) -> Option<u64> {
        let rates = self.rates(tokens.input_total());
        let product = |tokens: u64, rate: u64| u128::from(tokens) * u128::from(rate);
        let millionths = product(tokens.input, rates.input)
            .checked_add(product(tokens.cache_read, rates.cache_read))?
            .checked_add(product(tokens.cache_write, rates.cache_write))?
            .checked_add(product(tokens.output, rates.output))?
            .checked_add(product(tokens.reasoning, rates.output))?;
        u64::try_from(millionths.div_ceil(MILLION)).ok()
    }

    /// The most that a call can cost which reads about `input` tokens and writes at most `output`: what is held for it.
    #[must_use]
    pub fn cost_max(&self, input: u64, output: u64) -> Option<u64> {
        let cost = |tokens| self.cost(&tokens);
        // The dearest bucket of input, whichever the provider puts it into.
        let fresh = cost(Tokens { input, output, ..Tokens::default() })?;
        Some(fresh.max(cost(Tokens { cache_write: input, output, ..Tokens::default() })?))
    }

    /// The most tokens up to `max` that can be written so that [`Price::cost_max`] is within `budget` micros. `None` if
    /// not even the reading is paid for.
    #[must_use]
    pub fn affordable(&self, budget: u64, input: u64, max: u64) -> Option<u64> {
        let rates = self.rates(input);
        let read = u128::from(input) * u128::from(rates.input.max(rates.cache_write));
        // A cost is rounded up, so it stays within a whole number of micros exactly if its exact value does.
        let rest = (u128::from(budget) * MILLION).checked_sub(read)?;
        let tokens = rest.checked_div(u128::from(rates.output)).unwrap_or(u128::MAX);
        Some(u64::try_from(tokens).unwrap_or(u64::MAX).min(max))
    }
}

/// How a model can be told to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// It cannot.
    #[default]
    None,
    /// It can be switched on and off.
    Toggle,
    /// It can be switched on and off, and decides itself how much it thinks.
    Adaptive,
    /// It cannot be switched off, only to the least effort.
    Always,
}

/// What the configuration says of a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Our id, by which clients call it.
    pub id: String,
    /// The name of its provider.
    pub provider: String,
    /// The provider's id of it.
    pub upstream: String,
    /// What its tokens cost.
    pub price: Price,
    /// The most tokens that it reads and writes together.
    pub context_tokens: u64,
    /// The most tokens that it writes.
    pub output_tokens_max: u32,
    /// How good it is: tasks ask for a grade, and the cheapest model of at least that grade gets them.
    pub grade: u8,
    /// What it can do beside text.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// Whether it thinks.
    #[serde(default)]
    pub thinking: Thinking,
}

/// A name for models, best first, with a default of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The name, such as `kai-fast`.
    pub id: String,
    /// Ids of models: the first answers, the others stand in.
    pub models: Vec<String>,
    /// Whether it thinks where the request does not say.
    #[serde(default)]
    pub reasoning: Reasoning,
}

/// A kind of task and the grade of model that it takes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// As `task_type` names it.
    pub name: String,
    /// The least grade.
    pub grade: u8,
}

/// A model that can be called: it has a price and a provider.
pub struct Model {
    /// What was configured.
    pub config: ModelConfig,
    /// Who serves it.
    pub provider: Arc<Provider>,
}

impl Model {
    /// Whether it can do `capability`.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.config.capabilities.contains(&capability)
    }
}

/// A catalog that contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Two of them have one name.
    #[error("{0} is named twice")]
    Twice(String),
    /// A model is served by nobody.
    #[error("model {model} is of the provider {provider}, which is not configured")]
    NoProvider {
        /// The model.
        model: String,
        /// Its provider.
        provider: String,
    },
    /// An alias has no model, or one that is not in the catalog.
    #[error("alias {alias} needs a model of the catalog, not {model:?}")]
    NoModel {
        /// The alias.
        alias: String,
        /// What it names.
        model: String,
    },
}

/// All models, aliases and tasks. Built once, replaced whole.
pub struct Catalog {
    models: BTreeMap<String, Arc<Model>>,
    aliases: BTreeMap<String, Alias>,
    tasks: BTreeMap<String, u8>,
    /// The grade of a task that is not listed.
    task_grade: u8,
}

impl Catalog {
    /// Builds the catalog; tasks that are not listed take `task_grade`.
    ///
    /// # Errors
    /// [`CatalogError`] says which name is wrong.
    pub fn new(
        providers: &[Arc<Provider>],
        models: Vec<ModelConfig>,
        aliases: Vec<Alias>,
        tasks: Vec<Task>,
        task_grade: u8,
    ) -> Result<Self, CatalogError> {
        let mut catalog =
            Self { models: BTreeMap::new(), aliases: BTreeMap::new(), tasks: BTreeMap::new(), task_grade };
        for config in models {
            let Some(provider) = providers.iter().find(|provider| provider.name == config.provider) else {
                return Err(CatalogError::NoProvider { model: config.id, provider: config.provider });
            };
            let id = config.id.clone();
            let model = Arc::new(Model { config, provider: Arc::clone(provider) });
            if catalog.models.insert(id.clone(), model).is_some() {
                return Err(CatalogError::Twice(id));
            }
        }
        for alias in aliases {
            let unknown = alias.models.iter().find(|model| !catalog.models.contains_key(*model));
            if let Some(model) = unknown.cloned().or(alias.models.is_empty().then(String::new)) {
                return Err(CatalogError::NoModel { alias: alias.id, model });
            }
            let id = alias.id.clone();
            if catalog.models.contains_key(&id) || catalog.aliases.insert(id.clone(), alias).is_some() {
                return Err(CatalogError::Twice(id));
            }
        }
        for Task { name, grade } in tasks {
            if catalog.tasks.insert(name.clone(), grade).is_some() {
                return Err(CatalogError::Twice(name));
            }
        }
        Ok(catalog)
    }

    /// The model with this id of ours.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<&Arc<Model>> {
        self.models.get(id)
    }

    /// The alias with this name.
    #[must_use]
    pub fn alias(&self, id: &str) -> Option<&Alias> {
        self.aliases.get(id)
    }

    /// All models, by id.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// All aliases, by name.
    pub fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.aliases.values()
    }

    /// The tasks that are listed, and their grades.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, u8)> {
        self.tasks.iter().map(|(name, grade)| (name.as_str(), *grade))
    }

    /// The least grade of a model for `task`.
    #[must_use]
    pub fn grade_of(&self, task: Option<&str>) -> u8 {
        task.and_then(|task| self.tasks.get(task)).copied().unwrap_or(self.task_grade)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATES: Rates = Rates { input: 150_000, cache_read: 75_000, cache_write: 187_500, output: 600_000 };

    #[test]
    fn a_cost_is_exact_and_rounded_up_once() {
        let price = Price { rates: RATES, long: None };
        let cost = |input, cache_read, cache_write, output, reasoning| {
            price.cost(&Tokens { input, cache_read, cache_write, output, reasoning })
        };
        assert_eq!(cost(0, 0, 0, 0, 0), Some(0));
        assert_eq!(cost(1, 0, 0, 0, 0), Some(1));
        assert_eq!(cost(6, 0, 0, 0, 0), Some(1));
        assert_eq!(cost(7, 0, 0, 0, 0), Some(2));
        assert_eq!(cost(1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000), Some(1_612_500));
        assert_eq!(cost(u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX), None);
    }

    #[test]
    fn a_call_that_reads_much_is_wholly_at_the_other_rates() {
        let long = LongPrice { input_tokens_above: 200_000, rates: Rates { input: 300_000, output: 900_000, ..RATES } };
        let price = Price { rates: RATES, long: Some(long) };
        let cost = |input, cache_read| price.cost(&Tokens { input, cache_read, output: 1_000, ..Tokens::default() });
        assert_eq!(cost(200_000, 0), Some(30_600));
        assert_eq!(cost(200_001, 0), Some(60_901));
        assert_eq!(cost(199_999, 2), Some(60_900));
    }

    #[test]
    fn a_price_without_one_of_its_rates_is_no_price() {
        let complete = r#"{"input": 1, "cache_read": 1, "cache_write": 1, "output": 1}"#;
        assert!(serde_json::from_str::<Rates>(complete).is_ok());
        assert!(serde_json::from_str::<Rates>(r#"{"input": 1, "cache_read": 1, "output": 1}"#).is_err());
        assert!(serde_json::from_str::<Rates>(&complete.replace("1,", "0.5,")).is_err());
    }

    proptest! {
        #[test]
        fn prop_what_is_affordable_is_paid_for_and_one_token_more_is_not(
            budget in 0u64..1 << 40,
            input in 0u64..1 << 30,
        ) {
            let price = Price { rates: RATES, long: None };
            match price.affordable(budget, input, u64::MAX) {
                Some(output) => {
                    prop_assert!(price.cost_max(input, output).unwrap() <= budget);
                    prop_assert!(price.cost_max(input, output + 1).unwrap() > budget);
                }
                None => prop_assert!(price.cost_max(input, 0).unwrap() > budget),
            }
        }

        #[test]
        fn prop_to_divide_a_call_never_makes_it_cheaper(a in 0u64..1 << 40, b in 0u64..1 << 40) {
            let price = Price { rates: RATES, long: None };
            let cost = |input| price.cost(&Tokens { input, ..Tokens::default() }).unwrap();
            prop_assert!(cost(a) + cost(b) >= cost(a + b));
            prop_assert!(cost(a) + cost(b) <= cost(a + b) + 1);
        }
    }
}

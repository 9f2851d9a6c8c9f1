//! How long an answer may be for the money: what is held covers it, whoever of the targets answers.

use std::sync::Arc;

use llm::{ChatRequest, Model};

use super::Terms;

/// A shorter answer is of no use: rather none.
const OUTPUT_TOKENS_MIN: u64 = 16;

/// What a call is allowed.
pub(super) struct Plan {
    /// Who may be asked, in order.
    pub(super) targets: Vec<Arc<Model>>,
    /// The most tokens of the answer.
    pub(super) output_tokens: u32,
    /// What is held for it, in micros.
    pub(super) amount: u64,
    /// Whether the answer is shorter than was asked for, for want of money.
    pub(super) is_clamped: bool,
}

/// Not even a short answer is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooDear {
    /// What the shortest answer needs, in micros.
    pub(super) needed: u64,
}

impl Plan {
    /// Plans a call for at most `budget` micros, if there is such a bound.
    ///
    /// The first target decides how long the answer may be. The others are left out if they cannot give as long a one for the
    /// money, so that a dear stand-in makes no answer short.
    ///
    /// # Errors
    /// [`TooDear`].
    pub(super) fn new(
        targets: &[Arc<Model>],
        request: &ChatRequest,
        is_own_key: bool,
        terms: &Terms,
        budget: Option<u64>,
    ) -> Result<Self, TooDear> {
        let input = request.input_max();
        let wanted = targets.first().map_or(0, |first| wanted(first, request, input, terms));
        if is_own_key {
            let amount = terms.own_key_fee.get();
            let plan = Self { targets: targets.to_vec(), output_tokens: whole(wanted), amount, is_clamped: false };
            return if budget.is_some_and(|budget| budget < amount) {
                Err(TooDear { needed: amount })
            } else {
                Ok(plan)
            };
        }
        let cost = |model: &Model, output: u64| {
            let tokens = model.config.price.cost_max(input, output.min(model.config.output_tokens_max.into()));
            tokens.and_then(|cost| cost.checked_add(terms.fee.get())).unwrap_or(u64::MAX)
        };
        let short = OUTPUT_TOKENS_MIN.min(wanted);
        let needed = targets.first().map_or(0, |first| cost(first, short));
        let budget = budget.unwrap_or(u64::MAX);
        let rest = budget.checked_sub(terms.fee.get());
        let affordable = targets
            .first()
            .zip(rest)
            .and_then(|(first, rest)| first.config.price.affordable(rest, input, wanted))
            .filter(|output| *output >= short)
            .ok_or(TooDear { needed })?;
        let paid: Vec<_> = targets.iter().filter(|model| cost(model, affordable) <= budget).cloned().collect();
        let amount = paid.iter().map(|model| cost(model, affordable)).max().unwrap_or(0);
        Ok(Self { targets: paid, output_tokens: whole(affordable), amount, is_clamped: affordable < wanted })
    }
}

/// The longest answer that is asked for, or the usual one as far as there is room for it.
fn wanted(first: &Model, request: &ChatRequest, input: u64, terms: &Terms) -> u64 {
    let usual = || {
        let room = first.config.context_tokens.saturating_sub(input).max(OUTPUT_TOKENS_MIN);
        u64::from(terms.output_tokens).min(room)
    };
    request.output_tokens_max.map_or_else(usual, u64::from).min(first.config.output_tokens_max.into())
}

/// It came from 32 bits.
fn whole(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ledger::Micros;
    use llm::{Dialect, Message, ModelConfig, Part, Price, Provider, Rates, Thinking};
    use proptest::prelude::*;

    use super::*;

    fn terms(fee: u64) -> Terms {
        let micros = |micros| Micros::new(micros).unwrap();
        let (total, drain) = (Duration::from_secs(60), Duration::from_secs(5));
        Terms { fee: micros(fee), own_key_fee: micros(500), output_tokens: 4096, total, drain }
    }

    fn model(input: u64, output: u64) -> Arc<Model> {
        let rates = Rates { input, cache_read: input / 10, cache_write: input + input / 4, output };
        let config = ModelConfig {
            id: "m".into(),
            provider: "p".into(),
            upstream: "m-1".into(),
            price: Price { rates, long: None },
            context_tokens: 100_000,
            output_tokens_max: 8_000,
            grade: 1,
            capabilities: Vec::new(),
            thinking: Thinking::None,
        };
        Arc::new(Model { config, provider: Arc::new(Provider::http("p", Dialect::Openai, "http://127.0.0.1:9", None)) })
    }

    fn request(output_tokens_max: Option<u32>) -> ChatRequest {
        let parts = vec![Part::Text("x".repeat(56))];
        let mut request = ChatRequest::new("m", vec![Message::User { parts, name: None }]);
        request.output_tokens_max = output_tokens_max;
        assert_eq!(request.input_max(), 100);
        request
    }

    #[test]
    fn an_answer_is_as_long_as_asked_for_or_as_the_money_reaches() {
        let targets = [model(1_000_000, 2_000_000)];
        let check = |max, budget, want: Result<(u32, u64, bool), u64>| {
            let plan = Plan::new(&targets, &request(max), false, &terms(10), budget);
            let got = plan.map(|plan| (plan.output_tokens, plan.amount, plan.is_clamped));
            assert_eq!(got.map_err(|dear| dear.needed), want);
        };
        // 100 tokens of input at the dearest rate of input, 125 micros, and the fee.
        check(Some(50), None, Ok((50, 235, false)));
        check(None, None, Ok((4096, 8327, false)));
        check(Some(20_000), None, Ok((8000, 16_135, false)));
        check(Some(50), Some(235), Ok((50, 235, false)));
        check(Some(50), Some(234), Ok((49, 233, true)));
        check(Some(50), Some(167), Ok((16, 167, true)));
        check(Some(50), Some(166), Err(167));
        check(Some(50), Some(0), Err(167));
        check(Some(3), Some(141), Ok((3, 141, false)));
    }

    #[test]
    fn a_stand_in_that_is_too_dear_is_left_out_and_makes_no_answer_short() {
        let targets = [model(1_000_000, 2_000_000), model(10_000_000, 20_000_000), model(1_000_000, 1_000_000)];
        let plan = |budget| Plan::new(&targets, &request(Some(50)), false, &terms(0), budget).ok().unwrap();
        assert_eq!((plan(None).targets.len(), plan(None).amount), (3, 2250));
        let poor = plan(Some(2249));
        assert_eq!((poor.targets.len(), poor.amount, poor.is_clamped), (2, 225, false));
    }

    #[test]
    fn with_a_key_of_ones_own_only_the_fee_is_held() {
        let plan = |budget| Plan::new(&[model(1_000_000, 2_000_000)], &request(None), true, &terms(10), budget);
        assert_eq!(plan(Some(500)).ok().map(|plan| plan.amount), Some(500));
        assert_eq!(plan(Some(499)).err(), Some(TooDear { needed: 500 }));
    }

    proptest! {
        #[test]
        fn prop_what_is_held_is_within_the_budget_and_covers_every_target(
            rates in prop::collection::vec((0u64..50_000_000, 0u64..100_000_000), 1..4),
            budget in 0u64..1_000_000,
            max in prop::option::of(1u32..20_000),
            fee in 0u64..1000,
        ) {
            let targets: Vec<_> = rates.iter().map(|(input, output)| model(*input, *output)).collect();
            let request = request(max);
            let Ok(plan) = Plan::new(&targets, &request, false, &terms(fee), Some(budget)) else { return Ok(()) };
            prop_assert!(plan.amount <= budget && !plan.targets.is_empty());
            for model in &plan.targets {
                let output = plan.output_tokens.min(model.config.output_tokens_max);
                prop_assert!(model.config.price.cost_max(100, output.into()).unwrap() + fee <= plan.amount);
            }
        }
    }
}

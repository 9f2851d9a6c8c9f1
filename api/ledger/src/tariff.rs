//! What tokens cost. Prices are exact, and one charge is rounded once, up.

use crate::money::Micros;

const MILLION: u128 = 1_000_000;

/// What was used by one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read, without those that came from the provider's cache.
    pub input_tokens: u64,
    /// Tokens read from the provider's cache.
    pub cached_tokens: u64,
    /// Tokens written, those of reasoning included.
    pub output_tokens: u64,
}

/// Prices of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tariff {
    /// Micros for a million tokens read: 150,000 is 0.15 KAI for a million, 0.15 micros for one.
    pub input_per_million: u64,
    /// Micros for a million tokens read from the cache.
    pub cached_per_million: u64,
    /// Micros for a million tokens written.
    pub output_per_million: u64,
    /// Micros for each call, whatever it uses.
    pub fee: Micros,
}

impl Tariff {
    /// What `usage` costs: the exact price of all its tokens, rounded up once, and the fee. `None` is more than
    /// [`Micros::MAX`].
    #[must_use]
    pub fn charge(&self, usage: &Usage) -> Option<Micros> {
        let micros = self.millionths(usage)?.div_ceil(MILLION);
        Micros::new(u64::try_from(micros).ok()?)?.checked_add(self.fee)
    }

    /// The most tokens that can be written for `balance` by a call that reads what `usage` says and writes at most
    /// `max` tokens (the tokens written of `usage` are not counted): for it and no more than it, [`Tariff::charge`] stays
    /// within the balance. `None` if not even the reading is paid for.
    #[must_use]
    pub fn affordable(&self, balance: Micros, usage: &Usage, max: u64) -> Option<u64> {
        let read = self.millionths(&Usage { output_tokens: 0, ..*usage })?;
        // A charge is rounded up, so it stays within a whole number of micros exactly if its exact price does.
        let budget = u128::from(balance.checked_sub(self.fee)?.get()) * MILLION;
        let rest = budget.checked_sub(read)?;
        let tokens = rest.checked_div(u128::from(self.output_per_million)).unwrap_or(u128::MAX);
        Some(u64::try_from(tokens).unwrap_or(u64::MAX).min(max))
    }

    fn millionths(&self, usage: &Usage) -> Option<u128> {
        let price = |tokens: u64, per_million: u64| u128::from(tokens) * u128::from(per_million);
        price(usage.input_tokens, self.input_per_million)
            .checked_add(price(usage.cached_tokens, self.cached_per_million))?
            .checked_add(price(usage.output_tokens, self.output_per_million))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(micros: u64) -> Micros {
        Micros::new(micros).unwrap()
    }

    #[test]
    fn a_charge_is_exact_and_rounded_up_once() {
        let tariff = Tariff {
            input_per_million: 150_000,
            cached_per_million: 75_000,
            output_per_million: 600_000,
            fee: micros(1000),
        };
        let check = |input_tokens, cached_tokens, output_tokens, want| {
            let usage = Usage { input_tokens, cached_tokens, output_tokens };
            assert_eq!(tariff.charge(&usage).map(Micros::get), want, "{usage:?}");
        };
        check(0, 0, 0, Some(1000));
        check(1, 0, 0, Some(1001)); // 0.15
        check(20, 0, 5, Some(1006)); // 3 + 3, where rounding each token would say 25
        check(1, 1, 1, Some(1001)); // 0.15 + 0.075 + 0.6, where rounding each price would say 3
        check(1_000_000, 1_000_000, 1_000_000, Some(826_000));
        check(u64::MAX, 0, 0, Some(2_767_011_611_056_433_743));
        check(u64::MAX, u64::MAX, u64::MAX, None);
    }

    #[test]
    fn a_balance_below_the_reading_pays_for_nothing() {
        let tariff = Tariff { input_per_million: 1_000_000, output_per_million: 2_000_000, ..Tariff::default() };
        let read = Usage { input_tokens: 10, ..Usage::default() };
        let check = |balance, want| assert_eq!(tariff.affordable(micros(balance), &read, 100), want);
        check(9, None);
        check(10, Some(0));
        check(11, Some(0));
        check(12, Some(1));
        check(10_000, Some(100));
        assert_eq!(Tariff::default().affordable(Micros::ZERO, &read, 7), Some(7));
    }

    fn tariffs() -> impl Strategy<Value = Tariff> {
        let price = prop_oneof![0..10_u64, 0..100_000_000_u64, any::<u64>()];
        (price.clone(), price.clone(), price, 0..5_000_u64).prop_map(|(input, cached, output, fee)| Tariff {
            input_per_million: input,
            cached_per_million: cached,
            output_per_million: output,
            fee: micros(fee),
        })
    }

    fn usages() -> impl Strategy<Value = Usage> {
        let tokens = prop_oneof![0..10_u64, 0..2_000_000_u64, any::<u64>()];
        (tokens.clone(), tokens.clone(), tokens).prop_map(|(input_tokens, cached_tokens, output_tokens)| Usage {
            input_tokens,
            cached_tokens,
            output_tokens,
        })
    }

    proptest! {
        #[test]
        fn prop_a_charge_is_less_than_a_micro_above_its_exact_price(tariff in tariffs(), usage in usages()) {
            let Some(charge) = tariff.charge(&usage) else { return Ok(()) };
            let exact = tariff.millionths(&usage).unwrap();
            let charged = u128::from(charge.checked_sub(tariff.fee).unwrap().get()) * MILLION;
            prop_assert!(exact <= charged && charged < exact + MILLION);
        }

        #[test]
        fn prop_what_is_affordable_is_paid_for_and_one_token_more_is_not(
            tariff in tariffs(), usage in usages(), balance in 0..=Micros::MAX.get(), max in any::<u64>(),
        ) {
            let balance = micros(balance);
            let charge = |output_tokens| tariff.charge(&Usage { output_tokens, ..usage });
            let is_paid = |output_tokens| charge(output_tokens).is_some_and(|charge| charge <= balance);
            match tariff.affordable(balance, &usage, max) {
                None => prop_assert!(!is_paid(0)),
                Some(tokens) => {
                    prop_assert!(tokens <= max && is_paid(tokens));
                    prop_assert!(tokens == max || !is_paid(tokens + 1));
                }
            }
        }
    }
}

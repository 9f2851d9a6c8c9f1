//! Parameters: `a[b][0]=c` in a form or a query, each of them known, as Stripe refuses what it does not know.

use serde_json::{Map, Value};

use crate::refusal::Refusal;

const PARAMETERS_MAX: usize = 200;

/// The parameters of a request, each to be taken once.
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, String)> =
            form_urlencoded::parse(text).into_owned().take(PARAMETERS_MAX + 1).collect();
        if pairs.len() > PARAMETERS_MAX {
            return Err(Refusal::new(400, None, "Too many parameters"));
        }
        pairs.sort();
        Ok(Self(pairs))
    }

    /// The same for the same parameters, in whichever order they came.
    pub(crate) fn fingerprint(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{}:{name}={}:{value};", name.len(), value.len())).collect()
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    pub(crate) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        let missing = || Refusal::of_param("parameter_missing", name, format!("Missing required param: {name}."));
        self.take(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let invalid = |_| Refusal::of_param("parameter_invalid_integer", name, format!("Invalid integer: {text}"));
        text.parse().map(Some).map_err(invalid)
    }

    /// All of `name[key]`, in Stripe's bounds.
    pub(crate) fn metadata(&mut self, name: &str) -> Result<Map<String, Value>, Refusal> {
        let entries = self.take_below(name);
        let fits = |(key, value): &(String, String)| key.chars().count() <= 40 && value.chars().count() <= 500;
        if entries.len() > 50 || !entries.iter().all(fits) {
            return Err(Refusal::of_param("parameter_invalid_string_length", name, "Metadata is too long"));
        }
        Ok(entries.into_iter().map(|(key, value)| (key, value.into())).collect())
    }

    /// All of `name[…]` and `name[]`: what stands in the last brackets, and the values.
    pub(crate) fn take_below(&mut self, name: &str) -> Vec<(String, String)> {
        let key_of = |parameter: &str| {
            let key = parameter.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?;
            (!key.contains(['[', ']'])).then(|| key.to_owned())
        };
        let (mut below, mut rest) = (Vec::new(), Vec::new());
        for (parameter, value) in self.0.drain(..) {
            match key_of(&parameter) {
                Some(key) => below.push((key, value)),
                None => rest.push((parameter, value)),
            }
        }
        self.0 = rest;
        below
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.0.first() {
            Some((name, _)) => {
                Err(Refusal::of_param("parameter_unknown", name, format!("Received unknown parameter: {name}")))
            }
            None => Ok(()),
        }
    }
}

//! A value within a JSON document that knows where it stands, so that each complaint names its parameter.

use std::fmt::Write as _;

use serde_json::Value;

/// Why a request is refused, as OpenAI's clients expect it: always status 400, `invalid_request_error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// Which parameter, such as `messages[2].content[0].type`; `None` if it is the body as a whole.
    pub param: Option<String>,
    /// OpenAI's code, such as `invalid_type`.
    pub code: &'static str,
    /// The sentence for whoever reads it.
    pub message: String,
}

/// A value and its place.
pub(crate) struct Field<'a> {
    value: &'a Value,
    place: Place<'a>,
}

enum Place<'a> {
    Root,
    Name(&'a Field<'a>, &'static str),
    Index(&'a Field<'a>, usize),
}

impl<'a> Field<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self { value, place: Place::Root }
    }

    /// The member `name`; `null` is as good as absent.
    pub(crate) fn get<'b>(&'b self, name: &'static str) -> Option<Field<'b>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Field { value, place: Place::Name(self, name) })
    }

    pub(crate) fn need<'b>(&'b self, name: &'static str) -> Result<Field<'b>, RequestError> {
        self.get(name).ok_or_else(|| {
            let param = Field { value: self.value, place: Place::Name(self, name) }.path();
            let message = format!("Missing required parameter: '{param}'.");
            RequestError { param: Some(param), code: "missing_required_parameter", message }
        })
    }

    /// The items of a list of at most `max`.
    pub(crate) fn items<'b>(&'b self, max: usize) -> Result<impl Iterator<Item = Field<'b>>, RequestError> {
        let list = self.value.as_array().ok_or_else(|| self.wrong_type("an array"))?;
        if list.len() > max {
            let complaint = format!("array too long. Expected an array with maximum length {max}");
            return Err(self.invalid("array_above_max_length", &format!("{complaint}, but got {}", list.len())));
        }
        Ok(list.iter().enumerate().map(|(index, value)| Field { value, place: Place::Index(self, index) }))
    }

    pub(crate) fn object(&self) -> Result<&'a serde_json::Map<String, Value>, RequestError> {
        self.value.as_object().ok_or_else(|| self.wrong_type("an object"))
    }

    pub(crate) fn str(&self) -> Result<&'a str, RequestError> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a string"))
    }

    /// A string of at most `max` bytes.
    pub(crate) fn short_str(&self, max: usize) -> Result<&'a str, RequestError> {
        let text = self.str()?;
        if text.len() <= max {
            return Ok(text);
        }
        let complaint = format!("string too long. Expected a string with maximum length {max}, but got {}", text.len());
        Err(self.invalid("string_above_max_length", &complaint))
    }

    pub(crate) fn bool(&self) -> Result<bool, RequestError> {
        self.value.as_bool().ok_or_else(|| self.wrong_type("a boolean"))
    }

    pub(crate) fn integer(&self, min: i64, max: i64) -> Result<i64, RequestError> {
        let number = self.value.as_i64().ok_or_else(|| self.wrong_type("an integer"))?;
        if number < min {
            let complaint = format!("integer below minimum value. Expected a value >= {min}, but got {number} instead");
            return Err(self.invalid("integer_below_min_value", &complaint));
        }
        if number > max {
            let complaint = format!("integer above maximum value. Expected a value <= {max}, but got {number} instead");
            return Err(self.invalid("integer_above_max_value", &complaint));
        }
        Ok(number)
    }

    pub(crate) fn decimal(&self, min: f64, max: f64) -> Result<f64, RequestError> {
        let number = self.value.as_f64().ok_or_else(|| self.wrong_type("a decimal"))?;
        if number < min {
            let complaint = format!("decimal below minimum value. Expected a value >= {min}, but got {number} instead");
            return Err(self.invalid("decimal_below_min_value", &complaint));
        }
        if number > max {
            let complaint = format!("decimal above maximum value. Expected a value <= {max}, but got {number} instead");
            return Err(self.invalid("decimal_above_max_value", &complaint));
        }
        Ok(number)
    }

    /// What `choices` says of this string.
    pub(crate) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, RequestError> {
        let text = self.str()?;
        choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("'{name}'")).collect();
            self.unknown(&format!("Supported values are: {}.", names.join(", ")))
        })
    }

    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    pub(crate) fn wrong_type(&self, expected: &str) -> RequestError {
        let path = self.path();
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(number) if number.is_f64() => "a decimal",
            Value::Number(_) => "an integer",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        if matches!(self.place, Place::Root) {
            let message = format!("The body must be {expected}, but is {found}.");
            return RequestError { param: None, code: "invalid_type", message };
        }
        let message = format!("Invalid type for '{path}': expected {expected}, but got {found} instead.");
        RequestError { param: Some(path), code: "invalid_type", message }
    }

    /// The value is well formed and means nothing.
    pub(crate) fn unknown(&self, hint: &str) -> RequestError {
        let path = self.path();
        let shown: String = self.value.to_string().chars().take(64).collect();
        let message = format!("Invalid value for '{path}': {shown}. {hint}");
        RequestError { param: Some(path), code: "invalid_value", message }
    }

    pub(crate) fn invalid(&self, code: &'static str, complaint: &str) -> RequestError {
        let path = self.path();
        let message = format!("Invalid '{path}': {complaint}.");
        RequestError { param: Some(path), code, message }
    }

    /// OpenAI has it, this gateway has not.
    pub(crate) fn unsupported(&self, hint: &str) -> RequestError {
        let path = self.path();
        let message = format!("Unsupported parameter: '{path}'. {hint}");
        RequestError { param: Some(path), code: "unsupported_parameter", message }
    }

    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        self.write_path(&mut path);
        path
    }

    fn write_path(&self, path: &mut String) {
        match self.place {
            Place::Root => {}
            Place::Name(parent, name) => {
                parent.write_path(path);
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Place::Index(parent, index) => {
                parent.write_path(path);
                // Writing to a string cannot fail.
                let _ = write!(path, "[{index}]");
            }
        }
    }
}

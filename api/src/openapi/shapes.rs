//! Shapes of bodies for the document alone.
#![expect(dead_code, reason = "these types say what is written, and are not what writes it")]

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, SchemaType, Type},
    },
};

/// Why a request is not served.
#[derive(ToSchema)]
pub(super) struct Problem {
    /// A stable code for programs.
    #[schema(example = "invalid_parameter")]
    error: String,
    /// For people; its words may change.
    message: String,
    /// The parameter, header or member of the body that is wrong.
    field: Option<String>,
}

/// Why a request is not served.
#[derive(ToSchema)]
pub(super) struct DetailedProblem {
    detail: Detail,
}

/// What is wrong.
#[derive(ToSchema)]
pub(super) struct Detail {
    /// A stable code for programs.
    #[schema(example = "insufficient_scope")]
    error: String,
    /// For people; its words may change.
    message: String,
    /// Where the routes are described.
    docs: String,
    /// The parameter, header or member of the body that is wrong.
    field: Option<String>,
}

/// Why a request is not served, in the shape of OpenAI's API.
#[derive(ToSchema)]
pub(super) struct OpenAiProblem {
    error: OpenAiError,
}

/// What is wrong.
#[derive(ToSchema)]
pub(super) struct OpenAiError {
    /// For people; its words may change.
    message: String,
    /// What kind of error it is, such as `invalid_request_error`.
    r#type: String,
    /// The parameter or member that is wrong.
    #[schema(required)]
    param: Option<String>,
    /// A stable code for programs.
    code: String,
}

/// What a key may do; each includes those before it.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum ApiScope {
    Read,
    Write,
    Admin,
}

/// An exact decimal: a number, or text with `numbers=string`.
pub(crate) struct Decimal;

impl PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        let either = SchemaType::from_iter([Type::Number, Type::String]);
        let description =
            "An exact decimal with as many places as the instrument has: a number, or text with `numbers=string`.";
        ObjectBuilder::new().schema_type(either).description(Some(description)).build().into()
    }
}

impl ToSchema for Decimal {}

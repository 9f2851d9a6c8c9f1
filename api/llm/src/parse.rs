//! OpenAI's chat request, read once, at the border.
//!
//! Every parameter of [OpenAI's page](https://platform.openai.com/docs/api-reference/chat/create) is either honoured, or a
//! hint that may be dropped, or refused by name; what the page does not know is ignored. The dialects of reasoning are
//! read as well: `reasoning` as a boolean or as OpenRouter's object, `thinking`, `enable_thinking`, `reasoning_effort`.

use serde_json::Value;

use crate::{
    event::Thought,
    field::{Field, RequestError},
    request::{
        Assistant, BODY_BYTES_MAX, ChatRequest, Effort, Format, Image, MESSAGES_MAX, Message, PARTS_MAX, Part,
        Reasoning, STOPS_MAX, Sampling, TOOLS_MAX, Tool, ToolCall, ToolChoice, Verbosity,
    },
};

const NAME_BYTES_MAX: usize = 64;
const MODEL_BYTES_MAX: usize = 128;
const CALL_ID_BYTES_MAX: usize = 256;
const STOP_BYTES_MAX: usize = 256;
const CACHE_KEY_BYTES_MAX: usize = 256;
const METADATA_PAIRS_MAX: usize = 16;
const LOGIT_BIASES_MAX: usize = 1024;
const TOKENS_MAX: i64 = 10_000_000;

/// What OpenAI's page has and this gateway has not, and what to do instead.
const UNSUPPORTED: [(&str, &str); 5] = [
    ("functions", "Use 'tools' instead."),
    ("function_call", "Use 'tool_choice' instead."),
    ("audio", "Only text is generated."),
    ("web_search_options", "Search is offered by tools."),
    ("moderation", "Moderate with a call of its own."),
];

const EFFORTS: [(&str, Option<Effort>); 7] = [
    ("none", None),
    ("minimal", Some(Effort::Minimal)),
    ("low", Some(Effort::Low)),
    ("medium", Some(Effort::Medium)),
    ("high", Some(Effort::High)),
    ("xhigh", Some(Effort::Xhigh)),
    ("max", Some(Effort::Max)),
];

impl ChatRequest {
    /// Reads the body of `POST /v1/chat/completions`.
    ///
    /// # Errors
    /// [`RequestError`] names the first parameter that is missing, of another type, out of bounds or unsupported.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        if body.len() > BODY_BYTES_MAX {
            let message = format!("The body is longer than {BODY_BYTES_MAX} bytes.");
            return Err(RequestError { param: None, code: "request_too_large", message });
        }
        let body: Value = serde_json::from_slice(body).map_err(|error| {
            let message = format!("We could not parse the JSON body of your request: {error}.");
            RequestError { param: None, code: "invalid_json", message }
        })?;
        Self::from_value(&body)
    }

    /// Reads a request from a parsed document.
    ///
    /// # Errors
    /// As [`ChatRequest::parse`].
    pub fn from_value(body: &Value) -> Result<Self, RequestError> {
        let root = Field::root(body);
        root.object()?;
        refuse_unsupported(&root)?;
        let messages = root.need("messages")?;
        let mut tools = root.get("tools").map_or(Ok(Vec::new()), |tools| parse_tools(&tools))?;
        let tool_choice = parse_tool_choice(&root, &mut tools)?;
        let options = root.get("stream_options");
        let include_usage = options.as_ref().and_then(|options| options.get("include_usage"));
        let request = Self {
            model: root.need("model")?.short_str(MODEL_BYTES_MAX)?.to_owned(),
            messages: messages.items(MESSAGES_MAX)?.map(|message| parse_message(&message)).collect::<Result<_, _>>()?,
            tools,
            tool_choice,
            parallel_tool_calls: optional(&root, "parallel_tool_calls", Field::bool)?,
            format: root.get("response_format").map_or(Ok(Format::Text), |format| parse_format(&format))?,
            reasoning: parse_reasoning(&root)?,
            output_tokens_max: parse_output_max(&root)?,
            sampling: parse_sampling(&root)?,
            stop: root.get("stop").map_or(Ok(Vec::new()), |stop| parse_stop(&stop))?,
            logprobs: parse_logprobs(&root)?,
            verbosity: parse_verbosity(&root)?,
            cache_key: optional(&root, "prompt_cache_key", |key| key.short_str(CACHE_KEY_BYTES_MAX))?.map(Into::into),
            stream: optional(&root, "stream", Field::bool)?.unwrap_or(false),
            include_usage: include_usage.map_or(Ok(false), |wanted| wanted.bool())?,
            metadata: root.get("metadata").map_or(Ok(serde_json::Map::new()), |notes| parse_metadata(&notes))?,
        };
        if request.messages.is_empty() {
            let complaint = "empty array. Expected an array with minimum length 1, but got an empty array instead";
            return Err(messages.invalid("empty_array", complaint));
        }
        match options {
            Some(options) if !request.stream => {
                Err(options.invalid("invalid_value", "it is only allowed when 'stream' is true"))
            }
            _ => Ok(request),
        }
    }
}

fn optional<'a, T>(
    root: &'a Field<'a>,
    name: &'static str,
    read: impl FnOnce(&Field<'a>) -> Result<T, RequestError>,
) -> Result<Option<T>, RequestError> {
    root.get(name).map(|field| read(&field)).transpose()
}

fn refuse_unsupported(root: &Field) -> Result<(), RequestError> {
    for (name, hint) in UNSUPPORTED {
        if let Some(field) = root.get(name) {
            return Err(field.unsupported(hint));
        }
    }
    if let Some(n) = root.get("n")
        && n.integer(1, 128)? != 1
    {
        return Err(n.unknown("One answer is given for each request."));
    }
    if let Some(modalities) = root.get("modalities") {
        for modality in modalities.items(2)? {
            modality.one_of(&[("text", ())])?;
        }
    }
    // The other tiers have other prices.
    optional(root, "service_tier", |tier| tier.one_of(&[("auto", ()), ("default", ())])).map(drop)
}

fn parse_message(message: &Field) -> Result<Message, RequestError> {
    message.object()?;
    let name = optional(message, "name", |name| name.short_str(NAME_BYTES_MAX))?.map(ToOwned::to_owned);
    let role = message.need("role")?;
    match role.str()? {
        "system" | "developer" => Ok(Message::System { text: parse_text(&message.need("content")?)?, name }),
        "user" => Ok(Message::User { parts: parse_parts(&message.need("content")?)?, name }),
        "assistant" => parse_assistant(message, name).map(Message::Assistant),
        "tool" => Ok(Message::Tool {
            call_id: message.need("tool_call_id")?.short_str(CALL_ID_BYTES_MAX)?.to_owned(),
            text: parse_text(&message.need("content")?)?,
        }),
        _ => Err(role.unknown("Supported values are: 'system', 'developer', 'user', 'assistant', 'tool'.")),
    }
}

/// A string, or a list of parts that are all text.
fn parse_text(content: &Field) -> Result<String, RequestError> {
    if content.value().is_string() {
        return content.str().map(Into::into);
    }
    let mut whole = String::new();
    for part in content.items(PARTS_MAX)? {
        part.need("type")?.one_of(&[("text", ())])?;
        whole.push_str(part.need("text")?.str()?);
    }
    Ok(whole)
}

fn parse_parts(content: &Field) -> Result<Vec<Part>, RequestError> {
    if content.value().is_string() {
        return Ok(vec![Part::Text(content.str()?.to_owned())]);
    }
    content.items(PARTS_MAX)?.map(|part| parse_part(&part)).collect()
}

fn parse_part(part: &Field) -> Result<Part, RequestError> {
    let kind = part.need("type")?;
    match kind.str()? {
        "text" => Ok(Part::Text(part.need("text")?.str()?.to_owned())),
        "image_url" => {
            let image = part.need("image_url")?;
            let url = image.need("url")?;
            let detail = optional(&image, "detail", |detail| detail.short_str(NAME_BYTES_MAX))?.map(Into::into);
            Ok(Part::Image { image: parse_image(&url)?, detail })
        }
        "input_audio" | "file" => Err(kind.unsupported("Send text or pictures.")),
        _ => Err(kind.unknown("Supported values are: 'text', 'image_url'.")),
    }
}

fn parse_image(url: &Field) -> Result<Image, RequestError> {
    let text = url.str()?;
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(Image::Url(text.to_owned()));
    }
    let data = text.strip_prefix("data:").and_then(|data| data.split_once(";base64,"));
    let Some((media_type, base64)) = data.filter(|(media_type, _)| media_type.starts_with("image/")) else {
        return Err(
            url.invalid("invalid_image_url", "expected an http or https URL, or a data URL of an image in base64")
        );
    };
    Ok(Image::Data { media_type: media_type.to_owned(), base64: base64.to_owned() })
}

fn parse_assistant(message: &Field, name: Option<String>) -> Result<Assistant, RequestError> {
    let mut said = Assistant { name, ..Assistant::default() };
    if let Some(content) = message.get("content") {
        if content.value().is_string() {
            said.text = Some(content.str()?.to_owned());
        } else {
            for part in content.items(PARTS_MAX)? {
                let kind = part.need("type")?;
                if kind.one_of(&[("text", true), ("refusal", false)])? {
                    said.text.get_or_insert_default().push_str(part.need("text")?.str()?);
                } else {
                    said.refusal.get_or_insert_default().push_str(part.need("refusal")?.str()?);
                }
            }
        }
    }
    if let Some(refusal) = message.get("refusal") {
        said.refusal = Some(refusal.str()?.to_owned());
    }
    if let Some(calls) = message.get("tool_calls") {
        said.tool_calls = calls.items(TOOLS_MAX)?.map(|call| parse_call(&call)).collect::<Result<_, _>>()?;
    }
    if let Some(details) = message.get("reasoning_details") {
        said.thoughts = parse_thoughts(&details)?;
    }
    if said.text.is_none() && said.refusal.is_none() && said.tool_calls.is_empty() {
        message.need("content")?;
    }
    Ok(said)
}

fn parse_call(call: &Field) -> Result<ToolCall, RequestError> {
    optional(call, "type", |kind| kind.one_of(&[("function", ())]))?;
    let function = call.need("function")?;
    let google = call.get("extra_content");
    let google = google.as_ref().and_then(|extra| extra.get("google"));
    let signature = google.as_ref().and_then(|google| google.get("thought_signature"));
    Ok(ToolCall {
        id: call.need("id")?.short_str(CALL_ID_BYTES_MAX)?.to_owned(),
        name: function.need("name")?.short_str(NAME_BYTES_MAX)?.to_owned(),
        arguments: function.need("arguments")?.str()?.to_owned(),
        signature: signature.map(|signature| signature.str().map(Into::into)).transpose()?,
    })
}

/// OpenRouter's form, which clients give back as they got it. Kinds that are not known are not reasoning of ours.
fn parse_thoughts(details: &Field) -> Result<Vec<Thought>, RequestError> {
    let mut thoughts = Vec::new();
    for detail in details.items(PARTS_MAX)? {
        match detail.need("type")?.str()? {
            "reasoning.text" => {
                let text = optional(&detail, "text", Field::str)?.unwrap_or_default().to_owned();
                let signature = optional(&detail, "signature", Field::str)?.map(Into::into);
                thoughts.push(Thought::Text { text, signature });
            }
            "reasoning.encrypted" => thoughts.push(Thought::Sealed(detail.need("data")?.str()?.to_owned())),
            _ => {}
        }
    }
    Ok(thoughts)
}

fn parse_tools(tools: &Field) -> Result<Vec<Tool>, RequestError> {
    let parse = |tool: Field| {
        tool.need("type")?.one_of(&[("function", ())])?;
        let function = tool.need("function")?;
        let name = function.need("name")?;
        if !is_tool_name(name.short_str(NAME_BYTES_MAX)?) {
            return Err(name.invalid("invalid_value", "expected letters, digits, '_' and '-'"));
        }
        let parameters = function.get("parameters");
        if let Some(parameters) = &parameters {
            parameters.object()?;
        }
        Ok(Tool {
            name: name.str()?.to_owned(),
            description: optional(&function, "description", Field::str)?.map(Into::into),
            parameters: parameters.map(|schema| schema.value().clone()),
            strict: optional(&function, "strict", Field::bool)?,
        })
    };
    tools.items(TOOLS_MAX)?.map(parse).collect()
}

fn is_tool_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// `allowed_tools` is obeyed by offering no other tool.
fn parse_tool_choice(root: &Field, tools: &mut Vec<Tool>) -> Result<ToolChoice, RequestError> {
    let Some(choice) = root.get("tool_choice") else { return Ok(ToolChoice::Auto) };
    let parsed = parse_choice(&choice, tools)?;
    if tools.is_empty() && matches!(parsed, ToolChoice::Required | ToolChoice::Function(_)) {
        return Err(choice.invalid("invalid_value", "it is only allowed when 'tools' are specified"));
    }
    Ok(parsed)
}

fn parse_choice(choice: &Field, tools: &mut Vec<Tool>) -> Result<ToolChoice, RequestError> {
    if choice.value().is_string() {
        let is = choice.one_of(&[("auto", 0), ("none", 1), ("required", 2)])?;
        return Ok([ToolChoice::Auto, ToolChoice::None, ToolChoice::Required].into_iter().nth(is).unwrap_or_default());
    }
    choice.object()?;
    if choice.need("type")?.one_of(&[("function", true), ("allowed_tools", false)])? {
        let function = choice.need("function")?;
        let name = function.need("name")?;
        if !tools.iter().any(|tool| name.value() == tool.name.as_str()) {
            return Err(name.unknown("No tool has this name."));
        }
        return Ok(ToolChoice::Function(name.str()?.to_owned()));
    }
    let allowed = choice.need("allowed_tools")?;
    let is_required = allowed.need("mode")?.one_of(&[("auto", false), ("required", true)])?;
    let list = allowed.need("tools")?;
    let mut names = Vec::new();
    for tool in list.items(TOOLS_MAX)? {
        let function = tool.need("function")?;
        names.push(function.need("name")?.short_str(NAME_BYTES_MAX)?.to_owned());
    }
    tools.retain(|tool| names.contains(&tool.name));
    Ok(if is_required { ToolChoice::Required } else { ToolChoice::Auto })
}

fn parse_format(format: &Field) -> Result<Format, RequestError> {
    match format.need("type")?.one_of(&[("text", 0), ("json_object", 1), ("json_schema", 2)])? {
        0 => Ok(Format::Text),
        1 => Ok(Format::JsonObject),
        _ => {
            let json_schema = format.need("json_schema")?;
            let schema = json_schema.need("schema")?;
            schema.object()?;
            Ok(Format::JsonSchema {
                name: json_schema.need("name")?.short_str(NAME_BYTES_MAX)?.to_owned(),
                description: optional(&json_schema, "description", Field::str)?.map(Into::into),
                schema: schema.value().clone(),
                strict: optional(&json_schema, "strict", Field::bool)?,
            })
        }
    }
}

/// The most particular wish wins: an effort or a budget over a mere yes; a no of `reasoning` over everything.
fn parse_reasoning(root: &Field) -> Result<Reasoning, RequestError> {
    let mut wish = Reasoning::Default;
    if let Some(enable) = root.get("enable_thinking") {
        wish = if enable.bool()? { ON } else { Reasoning::Off };
    }
    if let Some(thinking) = root.get("thinking") {
        let tokens_max = optional(&thinking, "budget_tokens", |budget| budget.integer(1, TOKENS_MAX))?;
        let is_on = thinking.need("type")?.one_of(&[("enabled", true), ("adaptive", true), ("disabled", false)])?;
        let on = Reasoning::On { effort: None, tokens_max: tokens_max.and_then(|tokens| tokens.try_into().ok()) };
        wish = if is_on { on } else { Reasoning::Off };
    }
    if let Some(effort) = root.get("reasoning_effort") {
        wish = with_effort(wish, effort.one_of(&EFFORTS)?);
    }
    let Some(reasoning) = root.get("reasoning") else { return Ok(wish) };
    if reasoning.value().is_boolean() {
        return Ok(match (reasoning.bool()?, wish) {
            (false, _) => Reasoning::Off,
            (true, wish @ Reasoning::On { .. }) => wish,
            (true, _) => ON,
        });
    }
    if !reasoning.value().is_object() {
        return Err(reasoning.wrong_type("a boolean or an object"));
    }
    let tokens_max = optional(&reasoning, "max_tokens", |budget| budget.integer(0, TOKENS_MAX))?;
    let is_on = optional(&reasoning, "enabled", Field::bool)?;
    wish = if is_on.unwrap_or(true) && tokens_max != Some(0) {
        Reasoning::On { effort: None, tokens_max: tokens_max.and_then(|tokens| tokens.try_into().ok()) }
    } else {
        Reasoning::Off
    };
    match reasoning.get("effort") {
        Some(effort) if wish != Reasoning::Off => Ok(with_effort(wish, effort.one_of(&EFFORTS)?)),
        _ => Ok(wish),
    }
}

const ON: Reasoning = Reasoning::On { effort: None, tokens_max: None };

fn with_effort(wish: Reasoning, effort: Option<Effort>) -> Reasoning {
    match (effort, wish) {
        (None, _) => Reasoning::Off,
        (effort, Reasoning::On { tokens_max, .. }) => Reasoning::On { effort, tokens_max },
        (effort, _) => Reasoning::On { effort, tokens_max: None },
    }
}

/// `max_tokens` is the older name; where both are given the newer one counts.
fn parse_output_max(root: &Field) -> Result<Option<u32>, RequestError> {
    let read = |name| optional(root, name, |tokens| tokens.integer(1, TOKENS_MAX));
    let (newer, older) = (read("max_completion_tokens")?, read("max_tokens")?);
    Ok(newer.or(older).and_then(|tokens| tokens.try_into().ok()))
}

fn parse_sampling(root: &Field) -> Result<Sampling, RequestError> {
    let decimal = |name, min, max| optional(root, name, |number| number.decimal(min, max));
    let logit_bias = match root.get("logit_bias") {
        Some(bias) if bias.object()?.len() > LOGIT_BIASES_MAX => {
            return Err(bias.invalid("invalid_value", "expected at most 1024 tokens"));
        }
        Some(bias) if !bias.object()?.values().all(Value::is_number) => {
            return Err(bias.invalid("invalid_type", "expected a number for each token"));
        }
        Some(bias) => bias.object()?.clone(),
        None => serde_json::Map::new(),
    };
    Ok(Sampling {
        temperature: decimal("temperature", 0.0, 2.0)?,
        top_p: decimal("top_p", 0.0, 1.0)?,
        frequency_penalty: decimal("frequency_penalty", -2.0, 2.0)?,
        presence_penalty: decimal("presence_penalty", -2.0, 2.0)?,
        seed: optional(root, "seed", |seed| seed.integer(i64::MIN, i64::MAX))?,
        logit_bias,
    })
}

fn parse_stop(stop: &Field) -> Result<Vec<String>, RequestError> {
    if stop.value().is_string() {
        return Ok(vec![stop.short_str(STOP_BYTES_MAX)?.to_owned()]);
    }
    stop.items(STOPS_MAX)?.map(|text| text.short_str(STOP_BYTES_MAX).map(Into::into)).collect()
}

fn parse_logprobs(root: &Field) -> Result<Option<u8>, RequestError> {
    let is_wanted = optional(root, "logprobs", Field::bool)?.unwrap_or(false);
    let Some(top) = root.get("top_logprobs") else { return Ok(is_wanted.then_some(0)) };
    let count = top.integer(0, 20)?;
    if !is_wanted {
        return Err(top.invalid("invalid_value", "it is only allowed when 'logprobs' is true"));
    }
    Ok(u8::try_from(count).ok())
}

fn parse_verbosity(root: &Field) -> Result<Option<Verbosity>, RequestError> {
    let choices = [("low", Verbosity::Low), ("medium", Verbosity::Medium), ("high", Verbosity::High)];
    optional(root, "verbosity", |verbosity| verbosity.one_of(&choices))
}

fn parse_metadata(notes: &Field) -> Result<serde_json::Map<String, Value>, RequestError> {
    let map = notes.object()?;
    let is_note =
        |(key, value): (&String, &Value)| key.len() <= 64 && value.as_str().is_some_and(|text| text.len() <= 512);
    if map.len() > METADATA_PAIRS_MAX || !map.iter().all(is_note) {
        return Err(notes.invalid("invalid_value", "expected at most 16 strings of 512 bytes, by keys of 64 bytes"));
    }
    Ok(map.clone())
}

//! PutBucketCors, GetBucketCors, DeleteBucketCors. What the rules do is in `cors.rs` and at the gate.

use s3s::dto::{
    CORSRule, DeleteBucketCorsInput, DeleteBucketCorsOutput, GetBucketCorsInput, GetBucketCorsOutput,
    PutBucketCorsInput, PutBucketCorsOutput,
};
use s3s::{S3Request, S3Response};

use super::{Answer, Asked, Halt, Operations};
use crate::cors::{METHODS, RULES_MAX, Rule, stored};
use crate::errors::Refusal;
use crate::settings::CORS;

/// The longest id of a rule, in characters.
const ID_MAX: usize = 255;

impl Operations {
    pub(super) async fn put_bucket_cors(
        &self,
        asked: Asked,
        request: S3Request<PutBucketCorsInput>,
    ) -> Answer<PutBucketCorsOutput> {
        let rules = request.input.cors_configuration.cors_rules;
        if rules.is_empty() || rules.len() > RULES_MAX {
            return Err(Refusal::malformed_xml().into());
        }
        let rules = rules.into_iter().map(checked).collect::<Result<Vec<_>, _>>()?;
        let text = serde_json::to_string(&rules).map_err(|_| Refusal::malformed_xml())?;
        asked.set(CORS, Some(text)).await?;
        Ok(S3Response::new(PutBucketCorsOutput::default()))
    }

    pub(super) async fn get_bucket_cors(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketCorsInput>,
    ) -> Answer<GetBucketCorsOutput> {
        let bucket = asked.bucket().await?;
        let Some(text) = bucket.settings.get(CORS) else {
            let message = "The CORS configuration does not exist";
            return Err(Refusal::not_found("NoSuchCORSConfiguration", message).into());
        };
        Ok(S3Response::new(GetBucketCorsOutput {
            cors_rules: Some(stored(text).into_iter().map(said).collect()),
        }))
    }

    pub(super) async fn delete_bucket_cors(
        &self,
        asked: Asked,
        _request: S3Request<DeleteBucketCorsInput>,
    ) -> Answer<DeleteBucketCorsOutput> {
        asked.set(CORS, None).await?;
        Ok(S3Response::new(DeleteBucketCorsOutput::default()))
    }
}

pub(super) fn checked(rule: CORSRule) -> Result<Rule, Halt> {
    let refused = |message: String| Err(Halt::from(Refusal::invalid_request(message)));
    if rule.allowed_methods.is_empty() || rule.allowed_origins.is_empty() {
        return Err(Refusal::malformed_xml().into());
    }
    if let Some(method) = rule
        .allowed_methods
        .iter()
        .find(|method| !METHODS.contains(&method.as_str()))
    {
        return refused(format!(
            "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
        ));
    }
    let headers = rule.allowed_headers.unwrap_or_default();
    for (what, list) in [
        ("AllowedOrigin", &rule.allowed_origins),
        ("AllowedHeader", &headers),
    ] {
        if let Some(text) = list.iter().find(|text| text.matches('*').count() > 1) {
            return refused(format!("{what} \"{text}\" can not have more than one wildcard."));
        }
    }
    let expose = rule.expose_headers.unwrap_or_default();
    if let Some(text) = expose
        .iter()
        .find(|text| http::HeaderName::from_bytes(text.as_bytes()).is_err())
    {
        return refused(format!(
            "ExposeHeader \"{text}\" contains wildcard or is no header."
        ));
    }
    if rule.id.as_ref().is_some_and(|id| id.chars().count() > ID_MAX) {
        return Err(Refusal::malformed_xml().into());
    }
    Ok(Rule {
        id: rule.id,
        methods: rule.allowed_methods,
        origins: rule.allowed_origins,
        headers,
        expose,
        max_age_s: rule.max_age_seconds,
    })
}

pub(super) fn said(rule: Rule) -> CORSRule {
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    CORSRule {
        allowed_headers: some(rule.headers),
        allowed_methods: rule.methods,
        allowed_origins: rule.origins,
        expose_headers: some(rule.expose),
        id: rule.id,
        max_age_seconds: rule.max_age_s,
    }
}

//! The OpenAPI 3.1 description of the API.

use http::StatusCode;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, Info, License, OpenApi, OpenApiBuilder, RefOr, SecurityRequirement,
};
use utoipa::{PartialSchema, ToSchema};

use crate::contract::EventRecord;

/// The name of the one security scheme.
const TOKEN: &str = "token";

/// Returns the description without any routes.
pub(super) fn empty() -> OpenApi {
    let mut info = Info::new("lastword", env!("CARGO_PKG_VERSION"));
    info.description = Some("Shows and controls the connections of one node.".to_owned());
    info.license = Some(License::new(env!("CARGO_PKG_LICENSE")));
    let mut components = Components::new();
    // OpenAPI has no schema for Server-Sent Events; this is the `data` of each.
    let mut schemas = vec![(EventRecord::name().into_owned(), EventRecord::schema())];
    EventRecord::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some(
        "A token from control.token_file, if that is set. One of the scope read gets 403 \
         (urn:lastword:scope) for everything but GET; one of the scope operate may do all.",
    ));
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer.build()));
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// Returns what an operation requires: nothing, or a token of this scope.
fn security(scope: &str) -> Vec<SecurityRequirement> {
    vec![SecurityRequirement::default(), SecurityRequirement::new(TOKEN, [scope])]
}

/// Adds the descriptions that OpenAPI requires for every response, and the scope of each operation.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    for path in document.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            describe_answers(operation);
            operation.security = Some(security("operate"));
        }
        if let Some(get) = &mut path.get {
            get.security = Some(security("read"));
        }
    }
    document
}

fn describe_answers(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            let known = StatusCode::from_bytes(status.as_bytes()).ok();
            let reason = known.and_then(|status| status.canonical_reason());
            response.description = reason.unwrap_or("Refused; `type` names the reason").to_owned();
        }
    }
}

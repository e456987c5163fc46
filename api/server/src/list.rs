//! Lists and single resources, read from the views.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use edgestack_model::{Kind, Labels, Name, Refusal, command::Reference, world::Resource};
use edgestack_wire::list::List;
use uuid::Uuid;

use crate::{
    moment::Reading,
    precondition,
    problem::{Answer, Failure},
    query::{Parameters, shortened},
    shown::Shown,
    state::Site,
    watch,
};

pub(crate) const LIMIT_MAX: usize = 1000;
pub(crate) const LIMIT_DEFAULT: usize = 100;

/// Which resources are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    name: Option<String>,
    labels: Labels,
    states: Vec<String>,
}

impl Filter {
    fn take<T: Shown>(parameters: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self {
            name: parameters.text("name")?,
            labels: labels(parameters)?,
            states: if T::states().is_empty() { vec![] } else { states::<T>(parameters)? },
        })
    }

    /// Everything but the state, which only the shown resource tells.
    pub fn takes(&self, resource: &Resource) -> bool {
        let meta = resource.meta();
        self.name.as_deref().is_none_or(|name| name == meta.name.as_str()) && meta.labels.matches(&self.labels)
    }

    pub fn takes_state<T: Shown>(&self, shown: &T) -> bool {
        self.states.is_empty() || shown.state().is_some_and(|state| self.states.iter().any(|wanted| wanted == state))
    }
}

/// `GET /{plural}`, a page or a watch.
pub(crate) async fn list<T: Shown>(site: &Arc<Site>, headers: &HeaderMap, mut parameters: Parameters) -> Answer {
    let filter = Filter::take::<T>(&mut parameters)?;
    let limit = limit(&mut parameters)?;
    let after = parameters.text("continue")?.map(|token| decode_token("continue", &token)).transpose()?;
    let watched = parameters.flag("watch")?;
    let reading = Reading::take(site, &mut parameters).await?;
    parameters.finish()?;
    match (watched, &reading) {
        (true, Reading::Now(_)) => watch::watch::<T>(site, headers, filter),
        (true, Reading::Past(_)) => {
            Err(Failure::parameter("watch", "a watch begins now; leave one of watch and at out"))
        }
        (false, _) => {
            let page = page::<T>(&reading, &filter, limit, after.as_deref())?;
            Ok(reading.mark(Json(page).into_response()))
        }
    }
}

fn page<T: Shown>(
    reading: &Reading<'_>,
    filter: &Filter,
    limit: usize,
    after: Option<&str>,
) -> Result<List<T>, Failure> {
    // Read before the rows: what the page shows is at least as new as it says.
    let sequence = reading.sequence()?;
    let mut around = reading.surroundings();
    let mut items: Vec<T> = Vec::new();
    let mut continue_token = None;
    let mut keep = |resource: Resource| -> Result<bool, Failure> {
        if !filter.takes(&resource) {
            return Ok(true);
        }
        let shown = T::show(&resource, &mut around)?;
        if let Some(shown) = shown.filter(|shown| filter.takes_state(shown)) {
            if items.len() == limit {
                continue_token = items.last().map(|last| encode_token(&last.meta().name));
                return Ok(false);
            }
            items.push(shown);
        }
        Ok(true)
    };
    match &filter.name {
        Some(name) => {
            let wanted = name.parse::<Name>().ok().filter(|_| after.is_none_or(|after| name.as_str() > after));
            if let Some(name) = wanted
                && let Some(resource) = reading.named(T::KIND, &name)?
            {
                keep(resource)?;
            }
        }
        None => {
            for resource in reading.list(T::KIND, after) {
                if !keep(resource?)? {
                    break;
                }
            }
        }
    }
    Ok(List { items, continue_token, sequence })
}

/// `GET /{plural}/{name}`.
pub(crate) async fn one<T: Shown>(
    site: &Arc<Site>,
    headers: &HeaderMap,
    reference: &Reference,
    mut parameters: Parameters,
) -> Answer {
    let reading = Reading::take(site, &mut parameters).await?;
    parameters.finish()?;
    let resource = reading.find(T::KIND, reference)?;
    let shown = T::show(&resource, &mut reading.surroundings())?
        .ok_or_else(|| Failure::internal("a view's row is of another kind than its key"))?;
    let tag = precondition::tag_text(shown.meta());
    if shown.tag_tells_all() && precondition::none_match_holds(headers, &tag) {
        return Ok(reading.mark(with_tag(StatusCode::NOT_MODIFIED.into_response(), tag)));
    }
    Ok(reading.mark(with_tag(Json(shown).into_response(), tag)))
}

fn with_tag(mut response: Response, tag: String) -> Response {
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A living resource by name or id, as the views have it.
pub(crate) fn find(site: &Site, kind: Kind, reference: &Reference) -> Result<Resource, Failure> {
    let text = &reference.0;
    let can_exist = text.parse::<Name>().is_ok() || Uuid::parse_str(text).is_ok();
    let found = if can_exist { site.app.views.find(kind, reference)? } else { None };
    found.ok_or_else(|| not_found(kind, reference))
}

pub(crate) fn not_found(kind: Kind, reference: &Reference) -> Failure {
    Refusal::NotFound { kind, name: reference.0.clone() }.into()
}

/// `limit`.
pub(crate) fn limit(parameters: &mut Parameters) -> Result<usize, Failure> {
    Ok(parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT))
}

/// Opaque to clients, so that what a page is continued from may change.
pub(crate) fn encode_token(place: &str) -> String {
    BASE64.encode(place)
}

pub(crate) fn decode_token(name: &str, token: &str) -> Result<String, Failure> {
    BASE64.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        Failure::parameter(name, "give back the token of the page before as it came, or leave it out to begin anew")
    })
}

pub(crate) fn labels(parameters: &mut Parameters) -> Result<Labels, Failure> {
    let Some(text) = parameters.text("label")? else {
        return Ok(Labels::default());
    };
    let mut wanted = BTreeMap::new();
    for pair in text.split(',') {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Failure::parameter(
                "label",
                format_args!("must be key=value, more with commas, got {:?}", shortened(pair)),
            ));
        };
        if wanted.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::parameter("label", format_args!("{:?} is given twice", shortened(key))));
        }
    }
    Labels::try_from(wanted).map_err(|error| Failure::parameter("label", error))
}

fn states<T: Shown>(parameters: &mut Parameters) -> Result<Vec<String>, Failure> {
    let Some(text) = parameters.text("state")? else {
        return Ok(vec![]);
    };
    let wanted: Vec<String> = text.split(',').map(str::to_owned).collect();
    match wanted.iter().find(|state| !T::states().contains(&state.as_str())) {
        None => Ok(wanted),
        Some(unknown) => Err(Failure::parameter(
            "state",
            format_args!("{:?} is none of {}", shortened(unknown), T::states().join(", ")),
        )),
    }
}

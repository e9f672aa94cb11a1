//! Asking a hub what a repository holds, and choosing from it.

use crate::config::HubKind;
use crate::error::HubError;
use crate::manifest::{FILES_MAX, Format, ModelKey};
use crate::progress::Event;
use crate::pull::{Goal, Place};
use crate::select::{Selection, select};
use crate::session::Session;
use crate::source::{Endpoint, Listing, direct, huggingface, modelscope};

/// What a hub offers for a goal.
pub(crate) struct Listed {
    pub(crate) selection: Selection,
    pub(crate) key: ModelKey,
    pub(crate) listing: Listing,
    /// The page of the model, for people.
    pub(crate) page: String,
}

impl Session {
    /// Asks the hub, and chooses.
    pub(crate) async fn list(&self, goal: &Goal, endpoint: &Endpoint) -> Result<Listed, HubError> {
        self.reporter
            .send(Event::Listing { model: goal.model.clone(), endpoint: endpoint.address.clone() });
        let listed = match &goal.place {
            Place::Url(url) => self.list_url(goal, endpoint, url).await?,
            Place::Repo { hub, owner, repo, pick } => {
                let page = match hub {
                    HubKind::HuggingFace => format!("{}/{owner}/{repo}", endpoint.address),
                    HubKind::ModelScope => format!("{}/models/{owner}/{repo}", endpoint.address),
                };
                let listing = match hub {
                    HubKind::HuggingFace => {
                        self.list_hf(goal, endpoint, owner, repo, &page).await?
                    }
                    HubKind::ModelScope => self.list_ms(goal, endpoint, owner, repo, &page).await?,
                };
                let selection = select(&listing.name, &listing.files, pick)?;
                let (owner, repo) =
                    listing.name.split_once('/').unwrap_or((owner.as_str(), repo.as_str()));
                let key = ModelKey::new(hub.name(), owner, repo, &selection.reference)?;
                Listed { selection, key, listing, page }
            }
        };
        let n_files = listed.selection.files.len();
        if n_files > FILES_MAX {
            return Err(HubError::Limit {
                what: format!("files of {}", goal.model),
                limit: FILES_MAX as u64,
                got: n_files as u64,
            });
        }
        Ok(listed)
    }

    async fn list_hf(
        &self,
        goal: &Goal,
        endpoint: &Endpoint,
        owner: &str,
        repo: &str,
        page: &str,
    ) -> Result<Listing, HubError> {
        let url = huggingface::listing_url(&endpoint.address, owner, repo)?;
        let request = endpoint.request(&url, &goal.model, page);
        let json = match self.http.text(request, &self.reporter).await {
            Err(HubError::NotFound { what, place, mut suggestions }) => {
                // One try: this is help, not the task.
                let url = huggingface::search_url(&endpoint.address, repo)?;
                let request = endpoint.request(&url, &goal.model, page);
                if let Ok(json) = self.http.text_once(request).await {
                    suggestions = huggingface::parse_search(&json);
                }
                return Err(HubError::NotFound { what, place, suggestions });
            }
            other => other?,
        };
        huggingface::parse_listing(&endpoint.address, owner, repo, &json)
    }

    async fn list_ms(
        &self,
        goal: &Goal,
        endpoint: &Endpoint,
        owner: &str,
        repo: &str,
        page: &str,
    ) -> Result<Listing, HubError> {
        let url = modelscope::listing_url(&endpoint.address, owner, repo)?;
        let json =
            self.http.text(endpoint.request(&url, &goal.model, page), &self.reporter).await?;
        let mut listing = modelscope::parse_listing(&endpoint.address, owner, repo, &json)?;
        // The licence is worth one request, but not a failure.
        let url = modelscope::info_url(&endpoint.address, owner, repo)?;
        if let Ok(json) = self.http.text_once(endpoint.request(&url, &goal.model, page)).await {
            listing.licence = modelscope::parse_licence(&json);
        }
        Ok(listing)
    }

    async fn list_url(
        &self,
        goal: &Goal,
        endpoint: &Endpoint,
        url: &str,
    ) -> Result<Listed, HubError> {
        let mut files = direct::parts(url)?;
        for file in &mut files {
            let location = file.location.clone();
            let request = endpoint.request(&location, &goal.model, &endpoint.address);
            match self.http.head(request, &self.reporter).await {
                Ok(reply) => {
                    direct::describe(file, &reply.first, reply.response.headers())?;
                }
                // A signed address often allows GET alone; fetching will tell.
                Err(HubError::Access { .. } | HubError::Http { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let selection = Selection {
            format: Format::Gguf,
            reference: String::new(),
            entry: files.first().map(|file| file.path.clone()),
            files,
        };
        let listing = Listing::default();
        let page = endpoint.address.clone();
        Ok(Listed { selection, key: direct::key(url)?, listing, page })
    }
}

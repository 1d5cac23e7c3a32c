//! The gate's questions, answered by the open vaults.

use futures::future::BoxFuture;
use http::HeaderMap;
use scopes::{Identity, VaultId};
use zeroize::Zeroizing;

use crate::access;
use crate::auth::{AuthError, SigningCredential};
use crate::cors::{self, CrossOrigin};
use crate::errors::Refusal;
use crate::gate::{Admitted, Gatekeeper, Question};
use crate::key::BucketName;
use crate::session::{Caller, RefusedOperation};
use crate::sessions::Sessions;
use crate::settings::CORS;

impl Gatekeeper for Sessions {
    fn credential(
        &self,
        access_key_id: String,
    ) -> BoxFuture<'_, Result<Option<SigningCredential>, AuthError>> {
        Box::pin(async move {
            if let Err(error) = self.freshen().await {
                tracing::error!(target: "cairn::s3", %error, "whether a credential is in force cannot be told");
                return Err(AuthError::LedgerAway);
            }
            self.credential_now(&access_key_id)
        })
    }

    fn decide(&self, question: &Question<'_>) -> Result<VaultId, Refusal> {
        access::decide(self, question)
    }

    fn cross_origin(&self, bucket: &str, asked: &CrossOrigin) -> Option<HeaderMap> {
        // The oldest bucket of the name, whoever has it: no later one speaks for it.
        let buckets = self
            .all()
            .into_iter()
            .filter_map(|session| session.peek_bucket(bucket).ok().flatten());
        let oldest = buckets.min_by_key(|bucket| bucket.created_ms)?;
        asked.answer(&cors::stored(oldest.settings.get(CORS)?))
    }

    fn noted<'a>(&'a self, admitted: &'a Admitted) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let session = self.of(admitted.vault);
            let session = session.ok_or_else(Refusal::access_denied)?;
            session.freshen().await.map_err(|error| Refusal::from(&error))?;
            let caller = Caller {
                identity: admitted.identity.clone(),
                operation_id: admitted.operation_id,
            };
            let bucket = admitted.target.bucket.as_ref().map(BucketName::as_str);
            let noted = session.noted(&caller, admitted.operation, bucket).await;
            noted.map_err(|error| Refusal::from(&error))
        })
    }

    fn refused(&self, agent: Option<&Identity>, asked: RefusedOperation<'_>) {
        // What nobody in particular asked for is written down with the first vault, the process has one log.
        let session = match agent {
            Some(agent) => self.of(agent.vault()),
            None => self.all().into_iter().next(),
        };
        if let Some(session) = session {
            session.refused(agent, asked);
        }
    }
}

impl Sessions {
    /// Brings every view up to what others may have written meanwhile.
    async fn freshen(&self) -> Result<(), crate::session::SessionError> {
        for session in self.all() {
            session.freshen().await?;
        }
        Ok(())
    }

    fn credential_now(&self, access_key_id: &str) -> Result<Option<SigningCredential>, AuthError> {
        match self.find_credential(access_key_id) {
            Ok(found) => Ok(found.map(|(_, open)| SigningCredential {
                secret: Zeroizing::new(open.secret.expose().as_bytes().to_vec()),
                credential: open.credential,
                name: open.name,
            })),
            Err(error) => {
                tracing::error!(target: "cairn::s3", %error, "a credential could not be looked up");
                Err(AuthError::Unavailable)
            }
        }
    }
}

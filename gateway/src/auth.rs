//! Accounts: registration, login, tokens, and who a request comes from.
//!
//! Passwords are hashed with argon2id on the blocking pool, a bounded number at once, because each
//! takes 19 MiB and tens of milliseconds. A login against a name that does not exist costs the same
//! as one with a wrong password.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use chatdb::Db;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::clock;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::store::accounts;
use crate::token::{SECRET_BYTES, TokenKey};

const SECRET: &str = "token_secret";
const ADMINISTRATOR: &str = "administrator";
const VALID_TOKENS_MAX: usize = 65_536;

/// Tokens and passwords of the instance.
#[derive(Debug)]
pub(crate) struct Auth {
    db: Db,
    key: TokenKey,
    valid: Cache<(Id, Id), ()>,
    hashing: Arc<Semaphore>,
    hashes_max: usize,
}

impl Auth {
    /// Loads the secret of the instance, or makes it.
    pub(crate) async fn open(db: Db, config: &Config) -> Result<Self> {
        let fresh = clock::random_bytes::<SECRET_BYTES>();
        let secret = accounts::settle(&db, SECRET, fresh.to_vec().into()).await?;
        let hashes_max = config.password_hashes_max.max(1);
        Ok(Self {
            db,
            key: TokenKey::new(&secret),
            valid: Cache::new(VALID_TOKENS_MAX),
            hashing: Arc::new(Semaphore::new(hashes_max)),
            hashes_max,
        })
    }

    /// Passwords that are hashed now.
    pub(crate) fn hashes_running(&self) -> usize {
        let free = self.hashing.available_permits();
        self.hashes_max.saturating_sub(free)
    }

    /// Makes a token of an account.
    pub(crate) async fn issue(&self, user: Id, token: Id, label: &str) -> Result<String> {
        accounts::add_token(&self.db, user, token, label).await?;
        Ok(self.key.encode(user, token))
    }

    /// Account and token id of a token that is valid now. `Bot ` and `Bearer ` before it are fine.
    pub(crate) async fn check(&self, text: &str) -> Result<Option<(Id, Id)>> {
        let text = text.trim();
        let bare = text
            .strip_prefix("Bot ")
            .or_else(|| text.strip_prefix("Bearer "));
        let Some((user, token)) = self.key.decode(bare.unwrap_or(text).trim()) else {
            return Ok(None);
        };
        if self.valid.get(&(user, token)).is_some() {
            return Ok(Some((user, token)));
        }
        if !accounts::has_token(&self.db, user, token).await? {
            return Ok(None);
        }
        self.valid.insert((user, token), ());
        Ok(Some((user, token)))
    }

    /// Ends a token.
    pub(crate) async fn revoke(&self, user: Id, token: Id) -> Result<()> {
        accounts::remove_token(&self.db, user, token).await?;
        self.valid.remove(&(user, token));
        Ok(())
    }

    /// The hash of a new password.
    pub(crate) async fn hash(&self, password: String) -> Result<String> {
        let salt = clock::random_bytes::<16>();
        self.blocking(move || {
            let salt = SaltString::encode_b64(&salt).map_err(bug)?;
            let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
            Ok(hash.map_err(bug)?.to_string())
        })
        .await
    }

    /// Whether the password is the one of `hash`. Without a hash it takes as long and is false.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let Some(hash) = hash else {
            self.hash(password).await?;
            return Ok(false);
        };
        self.blocking(move || {
            let hash = PasswordHash::new(&hash).map_err(bug)?;
            Ok(Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok())
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let closed = |_| Error::new(ErrorKind::Unavailable, "the server is stopping");
        let permit = Arc::clone(&self.hashing)
            .acquire_owned()
            .await
            .map_err(closed)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        let crashed = |error| Error::new(ErrorKind::Bug, "password hashing stopped").because(error);
        done.await.map_err(crashed)?
    }

    /// Makes `user` the administrator if there is none; answers whether it is now.
    pub(crate) async fn claim_administrator(&self, user: Id) -> Result<bool> {
        let value = user.get().to_be_bytes().to_vec();
        let settled = accounts::settle(&self.db, ADMINISTRATOR, value.into()).await?;
        Ok(settled[..] == user.get().to_be_bytes())
    }

    /// The administrator, once there is one.
    pub(crate) async fn administrator(&self) -> Result<Option<Id>> {
        let value = accounts::setting(&self.db, ADMINISTRATOR).await?;
        let bytes = value.and_then(|value| <[u8; 8]>::try_from(&value[..]).ok());
        Ok(bytes.and_then(|bytes| Id::new(u64::from_be_bytes(bytes))))
    }
}

fn bug(error: argon2::password_hash::Error) -> Error {
    Error::new(ErrorKind::Bug, format!("password hashing failed ({error})"))
}

//! Registration, login, logout.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;

use super::Shared;
use super::error::{ApiError, ApiResult, FormErrors};
use super::extract::{Caller, Form};
use crate::app::App;
use crate::id::Id;
use crate::model::user::CurrentUser;
use crate::store::accounts;
use crate::store::users::{self, UserRow};

/// A token and whose it is.
#[derive(Debug, Serialize)]
pub(crate) struct Session {
    token: String,
    user: CurrentUser,
}

/// A name as people write it, checked; its folded form is what must be unique.
pub(crate) fn check_name(form: &mut Form) -> String {
    let name = form.required("username", 2..=32);
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.chars().all(fine) {
        let message = "Letters, digits, '_', '.' and '-' only";
        form.fault("username", "USERNAME_INVALID", message);
    }
    name.to_lowercase()
}

impl App {
    /// Makes an account under a name that nobody has.
    pub(crate) async fn create_account(&self, row: &UserRow) -> ApiResult<()> {
        if !accounts::claim_name(&self.db, &row.username, row.user_id).await? {
            let message = "This name is taken: choose another one";
            return Err(FormErrors::one(
                &["username"],
                "USERNAME_ALREADY_TAKEN",
                message,
            ));
        }
        Ok(users::insert(&self.db, row).await?)
    }

    async fn session(&self, user: Id) -> ApiResult<Json<Session>> {
        let token = self.auth.issue(user, self.ids.next_id()?, "login").await?;
        let row = self
            .directory
            .user(user)
            .await?
            .ok_or_else(ApiError::unauthorized)?;
        Ok(Json(Session {
            token,
            user: CurrentUser::from(&*row),
        }))
    }
}

/// `POST /auth/register {username, password}`. The first account administers the instance.
pub(crate) async fn register(
    State(app): State<Shared>,
    mut form: Form,
) -> ApiResult<(StatusCode, Json<Session>)> {
    if !app.config.registration_open {
        let message = "Registration is closed on this instance";
        return Err(ApiError::new(StatusCode::FORBIDDEN, 0, message));
    }
    let typed: Option<String> = form.text("global_name", 1..=32);
    let username = check_name(&mut form);
    let password = form.required("password", 8..=128);
    form.finish()?;
    if accounts::find_name(&app.db, &username).await?.is_some() {
        let message = "This name is taken: choose another one";
        return Err(FormErrors::one(
            &["username"],
            "USERNAME_ALREADY_TAKEN",
            message,
        ));
    }
    let hash = app.auth.hash(password).await?;
    let row = UserRow {
        user_id: app.ids.next_id()?,
        username,
        global_name: typed,
        ..UserRow::default()
    };
    // The password first: an account that can be found can log in.
    accounts::set_password(&app.db, row.user_id, &hash).await?;
    app.create_account(&row).await?;
    if app.auth.claim_administrator(row.user_id).await? {
        app.take_over_imports(row.user_id).await?;
    }
    Ok((StatusCode::CREATED, app.session(row.user_id).await?))
}

/// `POST /auth/login {username, password}`
pub(crate) async fn login(State(app): State<Shared>, mut form: Form) -> ApiResult<Json<Session>> {
    let username = form.required("username", 1..=32).to_lowercase();
    let password = form.required("password", 1..=128);
    form.finish()?;
    let user = accounts::find_name(&app.db, &username).await?;
    let hash = match user {
        Some(user) => accounts::password(&app.db, user).await?,
        None => None,
    };
    if let (true, Some(user)) = (app.auth.verify(password, hash).await?, user) {
        // Again, because the server may have been killed between the registration and this.
        if app.auth.administrator().await? == Some(user) {
            app.take_over_imports(user).await?;
        }
        return app.session(user).await;
    }
    let message = "Name or password is wrong";
    Err(FormErrors::one(&["password"], "INVALID_LOGIN", message))
}

/// `POST /auth/logout`: the token that is used ends.
pub(crate) async fn logout(State(app): State<Shared>, caller: Caller) -> ApiResult<StatusCode> {
    app.auth.revoke(caller.id, caller.token).await?;
    Ok(StatusCode::NO_CONTENT)
}

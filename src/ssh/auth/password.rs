//! The method `password` (RFC 4252, section 8). Owns asking for a password, and for
//! another one where the server says that it has expired.

use russh::MethodKind;
use russh::client::AuthResult;

use super::{Authentication, MAX_ROUNDS, Step, blocking, timed};
use crate::error::Result;
use crate::printable::lines;
use crate::secret::Secret;

impl Authentication<'_> {
    pub(super) async fn password(&mut self) -> Result<Step> {
        for at in 0..self.credentials.prompts {
            if at > 0 {
                self.credentials.prompter.warn("Permission denied, please try again.");
            }
            let password = match self.password.take() {
                Some(password) => Some(password),
                None => self.ask_for(format!("{}'s password: ", self.who())).await?,
            };
            let Some(password) = password else {
                self.tried.push("password (no prompt is possible)".to_owned());
                return Ok(Step::Failed);
            };
            self.tried.push("password".to_owned());
            let login = self.login();
            let answer =
                self.session.handle.authenticate_password(login, password.expose().clone());
            let answer = timed(self.session.deadline, answer).await?;
            let step = match answer {
                AuthResult::PasswordChange { prompt } => self.change_password(prompt).await?,
                answer => self.judge(answer)?,
            };
            match step {
                Step::Failed if self.takes(MethodKind::Password) => {}
                step => return Ok(step),
            }
        }
        Ok(Step::Failed)
    }

    /// Asks for the old password and a new one until the server has had enough
    /// (sshconnect2.c, `input_userauth_passwd_changereq`).
    async fn change_password(&mut self, mut prompt: String) -> Result<Step> {
        for _ in 0..MAX_ROUNDS {
            if !prompt.is_empty() {
                self.credentials.prompter.tell(lines(&prompt).trim_end());
            }
            let Some((old, new)) = self.new_password().await? else {
                self.tried.push("password (it has expired, no prompt is possible)".to_owned());
                return Ok(Step::Failed);
            };
            let login = self.login();
            let (old, new) = (old.expose().clone(), new.expose().clone());
            let answer = self.session.handle.change_password(login, old, new);
            match timed(self.session.deadline, answer).await? {
                AuthResult::PasswordChange { prompt: again } => prompt = again,
                answer => return self.judge(answer),
            }
        }
        self.tried.push("password (the server goes on asking for a new one)".to_owned());
        Ok(Step::Failed)
    }

    /// The old password and, twice the same, a new one; `None` when nobody answers.
    async fn new_password(&self) -> Result<Option<(Secret<String>, Secret<String>)>> {
        let who = format!("Enter {}'s", self.who());
        let Some(old) = self.ask_for(format!("{who} old password: ")).await? else {
            return Ok(None);
        };
        for _ in 0..MAX_ROUNDS {
            let Some(new) = self.ask_for(format!("{who} new password: ")).await? else {
                return Ok(None);
            };
            let again = format!("Retype {}'s new password: ", self.who());
            match self.ask_for(again).await? {
                Some(again) if again.expose() == new.expose() => return Ok(Some((old, new))),
                Some(_) => self.credentials.prompter.tell("Mismatch; try again, EOF to quit."),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn ask_for(&self, prompt: String) -> Result<Option<Secret<String>>> {
        let prompter = self.credentials.prompter.clone();
        blocking(move || prompter.ask(&prompt, false)).await
    }

    /// As ssh(1) names whose password it is.
    fn who(&self) -> String {
        format!("{}@{}", self.credentials.login, self.credentials.machine)
    }
}

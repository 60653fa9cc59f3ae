//! Many writes over one call to a node: the cost of a call of their own is more than that of the write.
//!
//! Each endpoint has one `Pipeline` call while writes go there. What waits is taken together into one message, and
//! the node answers with what is ready together, so that under load a message, a frame and a wake-up are shared by many
//! writes; alone, a write waits for nobody.
//!
//! # Invariants
//!
//! * A caller is told once: its answer, `Unavailable` when its statements were not sent, or what the end of the call
//!   means for those that were.
//! * What waits to be sent is bounded by [`WAITING_MAX`], what was sent by the flow control of the call: a node that does
//!   not read makes callers wait.

use crate::error::{Error, ErrorKind, Result};
use crate::rpc::client::Client;
use crate::rpc::error::{from_status, refusal_from};
use crate::rpc::limits::PIPELINE_CALLS_MAX;
use crate::rpc::proto;
use futures::Stream;
use parking_lot::Mutex;
use prost::Message;
use proto::pipeline_answer::Outcome;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};
use tonic::Code;

/// Calls that wait to be sent.
const WAITING_MAX: usize = 1024;
/// Statements of more bytes get a call of their own: nobody waits behind them.
const CALL_BYTES_MAX: usize = 64 * 1024;

/// The call of one endpoint, made when it is needed and again after it ended.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    line: Mutex<Option<mpsc::Sender<Queued>>>,
    known: Arc<Known>,
}

/// What is known of the node.
#[derive(Debug, Default)]
struct Known {
    /// It has answered such a call.
    takes: AtomicBool,
    /// It does not know such calls.
    refuses: AtomicBool,
}

impl Pipeline {
    /// Whether these statements may go this way.
    pub(super) fn takes(&self, statements: &[proto::Statement]) -> bool {
        let bytes: usize = statements.iter().map(Message::encoded_len).sum();
        bytes <= CALL_BYTES_MAX && !self.is_refused()
    }

    /// Whether the node has answered such calls.
    pub(super) fn is_taken(&self) -> bool {
        self.known.takes.load(Ordering::Relaxed)
    }

    /// Whether the node does not know such calls: nothing that was sent that way has been done.
    pub(super) fn is_refused(&self) -> bool {
        self.known.refuses.load(Ordering::Relaxed)
    }

    /// Sends statements and waits for their answer. `client` is how the node is called now.
    pub(super) async fn call(
        &self,
        client: impl FnOnce() -> Client,
        statements: Vec<proto::Statement>,
    ) -> Result<proto::ExecuteResponse> {
        let (answer, answered) = oneshot::channel();
        let queued = Queued {
            statements,
            answer: Some(answer),
        };
        let line = self.line(client);
        // One that cannot be queued tells its caller when it is dropped.
        if let Err(mpsc::error::TrySendError::Full(queued)) = line.try_send(queued) {
            drop(line.send(queued).await);
        }
        answered
            .await
            .unwrap_or_else(|_| Err(Error::bug("a pipelined call was forgotten")))
    }

    fn line(&self, client: impl FnOnce() -> Client) -> mpsc::Sender<Queued> {
        let mut line = self.line.lock();
        if let Some(line) = line.as_ref().filter(|line| !line.is_closed()) {
            return line.clone();
        }
        let (sender, calls) = mpsc::channel(WAITING_MAX);
        let known = Arc::clone(&self.known);
        tokio::spawn(run(client(), Arc::new(Shared::new(calls)), known));
        *line = Some(sender.clone());
        sender
    }
}

type Answer = oneshot::Sender<Result<proto::ExecuteResponse>>;

/// Statements that were not sent yet.
#[derive(Debug)]
struct Queued {
    statements: Vec<proto::Statement>,
    answer: Option<Answer>,
}

impl Drop for Queued {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            let error = Error::new(ErrorKind::Unavailable, "the connection to the node ended");
            // The caller may have gone.
            drop(answer.send(Err(error)));
        }
    }
}

/// What the two directions of a call share.
#[derive(Debug)]
struct Shared {
    calls: Mutex<mpsc::Receiver<Queued>>,
    sent: Mutex<Sent>,
}

/// Calls that were sent and not answered.
#[derive(Debug, Default)]
struct Sent {
    waiting: BTreeMap<u64, Answer>,
    last: u64,
    has_ended: bool,
}

impl Shared {
    fn new(calls: mpsc::Receiver<Queued>) -> Self {
        Self {
            calls: Mutex::new(calls),
            sent: Mutex::default(),
        }
    }

    /// The next message of calls that are still waited for.
    fn message(&self, queued: Vec<Queued>) -> Option<proto::PipelineRequest> {
        let mut calls = Vec::with_capacity(queued.len());
        let mut sent = self.sent.lock();
        if sent.has_ended {
            return None;
        }
        for mut queued in queued {
            let Some(answer) = queued.answer.take().filter(|answer| !answer.is_closed()) else {
                continue;
            };
            sent.last += 1;
            let number = sent.last;
            sent.waiting.insert(number, answer);
            let statements = std::mem::take(&mut queued.statements);
            calls.push(proto::PipelineCall { number, statements });
        }
        Some(proto::PipelineRequest { calls })
    }

    fn answered(&self, answers: Vec<proto::PipelineAnswer>) {
        let mut sent = self.sent.lock();
        for answer in answers {
            if let Some(waiting) = sent.waiting.remove(&answer.number) {
                // The caller may have gone.
                drop(waiting.send(outcome(answer.outcome)));
            }
        }
    }

    /// Nothing is sent any more. Who was not sent may be sent elsewhere, the rest gets `error`.
    fn end(&self, error: &Error) {
        let waiting = {
            let mut sent = self.sent.lock();
            sent.has_ended = true;
            std::mem::take(&mut sent.waiting)
        };
        for answer in waiting.into_values() {
            drop(answer.send(Err(error.clone())));
        }
        let mut calls = self.calls.lock();
        calls.close();
        while calls.try_recv().is_ok() {}
    }
}

/// What an answer says.
pub(in crate::rpc) fn outcome(outcome: Option<Outcome>) -> Result<proto::ExecuteResponse> {
    match outcome {
        Some(Outcome::Done(response)) => Ok(response),
        Some(Outcome::Refused(refusal)) => Err(refusal_from(refusal)),
        None => Err(Error::new(ErrorKind::Unknown, "an answer says nothing")),
    }
}

/// The messages of one call.
struct Messages(Arc<Shared>);

impl Stream for Messages {
    type Item = proto::PipelineRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let mut queued = Vec::with_capacity(PIPELINE_CALLS_MAX / 4);
            let received = {
                let mut calls = self.0.calls.lock();
                calls.poll_recv_many(cx, &mut queued, PIPELINE_CALLS_MAX)
            };
            if ready!(received) == 0 {
                return Poll::Ready(None);
            }
            match self.0.message(queued) {
                Some(message) if message.calls.is_empty() => {}
                message => return Poll::Ready(message),
            }
        }
    }
}

/// One call, to its end.
async fn run(mut client: Client, shared: Arc<Shared>, known: Arc<Known>) {
    let end = match follow(&mut client, &shared, &known).await {
        Ok(()) => Error::new(
            ErrorKind::Unknown,
            "the node ended the call without an answer",
        ),
        Err(status) if status.code() == Code::Unimplemented => {
            known.refuses.store(true, Ordering::Relaxed);
            Error::new(ErrorKind::Unavailable, "the node takes one write per call")
        }
        Err(status) => from_status(&status),
    };
    shared.end(&end);
}

async fn follow(
    client: &mut Client,
    shared: &Arc<Shared>,
    known: &Known,
) -> std::result::Result<(), tonic::Status> {
    let messages = Messages(Arc::clone(shared));
    let mut answers = client.pipeline(messages).await?.into_inner();
    known.takes.store(true, Ordering::Relaxed);
    while let Some(message) = answers.message().await? {
        shared.answered(message.answers);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Asked = oneshot::Receiver<Result<proto::ExecuteResponse>>;

    fn queued() -> (Queued, Asked) {
        let (answer, asked) = oneshot::channel();
        let queued = Queued {
            statements: Vec::new(),
            answer: Some(answer),
        };
        (queued, asked)
    }

    #[tokio::test]
    async fn who_was_sent_gets_the_end_of_the_call_and_who_was_not_may_try_elsewhere() {
        let (line, calls) = mpsc::channel(4);
        let shared = Shared::new(calls);
        let (answered, mut first) = queued();
        let (sent, second) = queued();
        let (gone, third) = queued();
        drop(third);
        let message = shared.message(vec![answered, gone, sent]).unwrap();
        let numbers: Vec<u64> = message.calls.iter().map(|call| call.number).collect();
        assert_eq!(numbers, [1, 2], "who has gone is not sent");
        let done = Outcome::Done(proto::ExecuteResponse::default());
        shared.answered(vec![proto::PipelineAnswer {
            number: 1,
            outcome: Some(done),
        }]);
        assert_eq!(
            first.try_recv().unwrap().unwrap(),
            proto::ExecuteResponse::default()
        );
        let (waits, fourth) = queued();
        line.send(waits).await.unwrap();
        shared.end(&Error::new(ErrorKind::Unknown, "it broke"));
        assert_eq!(
            second.await.unwrap().unwrap_err().kind(),
            ErrorKind::Unknown
        );
        assert_eq!(
            fourth.await.unwrap().unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        assert!(line.is_closed(), "the next call makes a new line");
        let (late, fifth) = queued();
        assert!(shared.message(vec![late]).is_none());
        assert_eq!(
            fifth.await.unwrap().unwrap_err().kind(),
            ErrorKind::Unavailable
        );
    }
}

//! The called half of `Pipeline`: many requests over one call, answers as they are ready.
//!
//! All requests of a call run in one task, which takes what came, lets all of it begin, and sends what has ended
//! together. Writes spend their time waiting for the log, so that a task has many of them under way.
//!
//! # Invariants
//!
//! * At most [`RUNNING_MAX`] requests of a call run, and those of one message more; while they do, nothing is read.
//! * A call whose client ended its half, or that the server ends, answers what runs before it ends.

use crate::error::Error;
use crate::rpc::error::{refusal_to, to_status};
use crate::rpc::limits::PIPELINE_CALLS_MAX;
use crate::rpc::proto;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream, StreamExt};
use prost::Message;
use proto::pipeline_answer::Outcome;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

/// Requests of one call that run before more are read.
const RUNNING_MAX: usize = 1024;
/// Answers are sent when they are this many bytes, or when no other is ready.
const ANSWERS_BYTES: usize = 64 * 1024;

/// A request that runs, until its answer.
pub(super) type Running = BoxFuture<'static, proto::PipelineAnswer>;

/// The answer to the request of this number.
pub(super) fn answer(
    number: u64,
    ended: Result<proto::ExecuteResponse, Status>,
) -> proto::PipelineAnswer {
    let outcome = match ended {
        Ok(response) => Outcome::Done(response),
        Err(status) => Outcome::Refused(refusal_to(&status)),
    };
    proto::PipelineAnswer {
        number,
        outcome: Some(outcome),
    }
}

/// The answers of one call.
pub(super) struct Answers<C, R> {
    /// `None` when nothing is read any more.
    calls: Option<C>,
    run: R,
    running: FuturesUnordered<Running>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    failed: Option<Status>,
}

impl<C, R> Answers<C, R>
where
    C: Stream<Item = Result<proto::PipelineRequest, Status>> + Unpin,
    R: Fn(proto::PipelineCall) -> Running + Unpin,
{
    /// Reads `calls` until they end or `stop`, and gives each to `run`.
    pub(super) fn new(calls: C, run: R, stop: CancellationToken) -> Self {
        Self {
            calls: Some(calls),
            run,
            running: FuturesUnordered::new(),
            stop: Box::pin(stop.cancelled_owned()),
            failed: None,
        }
    }

    fn take_in(&mut self, cx: &mut Context<'_>) {
        if self.calls.is_some() && self.stop.as_mut().poll(cx).is_ready() {
            self.calls = None;
        }
        while self.running.len() < RUNNING_MAX
            && let Some(calls) = &mut self.calls
        {
            match calls.poll_next_unpin(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(request))) if request.calls.len() <= PIPELINE_CALLS_MAX => {
                    self.begin(request.calls);
                }
                Poll::Ready(Some(Ok(request))) => {
                    let count = request.calls.len();
                    let message =
                        format!("a message has up to {PIPELINE_CALLS_MAX} calls, not {count}");
                    self.failed = Some(to_status(&Error::invalid(message)));
                    self.calls = None;
                }
                Poll::Ready(Some(Err(status))) => {
                    self.failed = Some(status);
                    self.calls = None;
                }
                Poll::Ready(None) => self.calls = None,
            }
        }
    }

    fn begin(&mut self, calls: Vec<proto::PipelineCall>) {
        for call in calls {
            self.running.push((self.run)(call));
        }
    }

    fn collect(&mut self, cx: &mut Context<'_>) -> Vec<proto::PipelineAnswer> {
        let (mut answers, mut bytes) = (Vec::new(), 0);
        while bytes < ANSWERS_BYTES
            && answers.len() < PIPELINE_CALLS_MAX
            && let Poll::Ready(Some(answer)) = self.running.poll_next_unpin(cx)
        {
            bytes += answer.encoded_len();
            answers.push(answer);
        }
        answers
    }
}

impl<C, R> Stream for Answers<C, R>
where
    C: Stream<Item = Result<proto::PipelineRequest, Status>> + Unpin,
    R: Fn(proto::PipelineCall) -> Running + Unpin,
{
    type Item = Result<proto::PipelineResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.take_in(cx);
        let answers = this.collect(cx);
        if !answers.is_empty() {
            return Poll::Ready(Some(Ok(proto::PipelineResponse { answers })));
        }
        if this.calls.is_none() && this.running.is_empty() {
            return Poll::Ready(this.failed.take().map(Err));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use futures::FutureExt;
    use tokio::sync::{mpsc, oneshot};
    use tokio_stream::wrappers::ReceiverStream;

    fn request(numbers: std::ops::Range<u64>) -> proto::PipelineRequest {
        let call = |number| proto::PipelineCall {
            number,
            statements: Vec::new(),
        };
        proto::PipelineRequest {
            calls: numbers.map(call).collect(),
        }
    }

    fn numbers(response: Option<Result<proto::PipelineResponse, Status>>) -> Vec<u64> {
        let answers = response.unwrap().unwrap().answers;
        answers.iter().map(|answer| answer.number).collect()
    }

    #[tokio::test]
    async fn what_has_ended_is_answered_together_and_what_runs_before_the_end() {
        let (send, calls) = mpsc::channel(8);
        let (open, door) = oneshot::channel::<()>();
        let door = door.shared();
        let begun = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = std::sync::Arc::clone(&begun);
        let run = move |call: proto::PipelineCall| -> Running {
            let is_first = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            let door = door.clone();
            if !is_first {
                let done = answer(call.number, Ok(proto::ExecuteResponse::default()));
                return Box::pin(std::future::ready(done));
            }
            Box::pin(async move {
                drop(door.await);
                let refused = Error::new(ErrorKind::Conflict, "no");
                answer(call.number, Err(to_status(&refused)))
            })
        };
        let stop = CancellationToken::new();
        let mut answers = Answers::new(ReceiverStream::new(calls), run, stop.clone());
        send.send(Ok(request(1..4))).await.unwrap();
        let mut together = numbers(answers.next().await);
        together.sort_unstable();
        assert_eq!(together, [2, 3], "the first one still runs");
        stop.cancel();
        assert!(
            answers.next().now_or_never().is_none(),
            "it waits for the first one"
        );
        send.send(Ok(request(9..10))).await.unwrap_err();
        open.send(()).unwrap();
        let last = answers.next().await.unwrap().unwrap().answers.remove(0);
        let refused = crate::rpc::client::pipeline_outcome(last.outcome).unwrap_err();
        assert_eq!((last.number, refused.kind()), (1, ErrorKind::Conflict));
        assert!(answers.next().await.is_none());
        assert_eq!(begun.load(std::sync::atomic::Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn nothing_is_read_while_as_many_run_as_may_and_too_large_a_message_ends_the_call() {
        let run = |_| -> Running { Box::pin(std::future::pending()) };
        let (send, calls) = mpsc::channel(RUNNING_MAX);
        let most = PIPELINE_CALLS_MAX as u64;
        let messages = RUNNING_MAX / PIPELINE_CALLS_MAX + 3;
        for _ in 0..messages {
            send.send(Ok(request(0..most))).await.unwrap();
        }
        let stop = CancellationToken::new();
        let mut answers = Answers::new(ReceiverStream::new(calls), run, stop.clone());
        assert!(answers.next().now_or_never().is_none());
        assert_eq!(answers.running.len(), RUNNING_MAX);
        assert_eq!(send.capacity(), RUNNING_MAX - 3, "three messages wait");
        let (send, calls) = mpsc::channel(1);
        let mut answers = Answers::new(ReceiverStream::new(calls), run, stop);
        send.send(Ok(request(0..most + 1))).await.unwrap();
        let refused = answers.next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
}

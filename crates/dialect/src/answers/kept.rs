//! Files, batches and responses that are kept.

use super::{ID, object, of_kind, record};
use crate::shape::{COUNT, Field, OBJECT, Record, Shape, always, list, nullable};
use Shape::{Bool, Map, Null, Text, Word};

const FIRST: Field = nullable("first_id", Text);
const LAST: Field = nullable("last_id", Text);
const MORE: Field = always("has_more", Bool);
const CREATED_AT: Field = always("created_at", COUNT);
const EXPIRES_AT: Field = nullable("expires_at", COUNT);

/// A file.
pub(crate) const FILE: Shape = record(&Record::new(
    "File",
    &[
        ID,
        object(&["file"]),
        always("bytes", COUNT),
        CREATED_AT,
        EXPIRES_AT,
        always("filename", Text),
        always("purpose", Text),
        always("status", Word(&["processed"])),
        always("status_details", Null),
        always("sha256", Text),
    ],
));
/// `GET /v1/files`.
pub(crate) const FILES: Shape = record(&Record::new(
    "Files",
    &[object(&["list"]), FIRST, LAST, MORE, always("data", list(&FILE))],
));
/// `DELETE` of a file, a response or a conversation.
pub(crate) const DELETED: Shape = record(&Record::new(
    "Deleted",
    &[ID, object(&["file", "response", "conversation.deleted"]), always("deleted", Bool)],
));
/// A conversation, without its items.
pub(crate) const CONVERSATION: Shape = record(&Record::new(
    "Conversation",
    &[ID, object(&["conversation"]), CREATED_AT, always("metadata", Map(&Text))],
));
/// `GET /v1/conversations`.
pub(crate) const CONVERSATIONS: Shape = record(&Record::new(
    "Conversations",
    &[object(&["list"]), FIRST, LAST, MORE, always("data", list(&CONVERSATION))],
));

const FAULTS: Shape = record(&Record::new(
    "BatchFaults",
    &[
        object(&["list"]),
        always(
            "data",
            list(&record(&Record::new(
                "BatchFault",
                &[
                    always("code", Text),
                    always("message", Text),
                    nullable("param", Text),
                    nullable("line", COUNT),
                ],
            ))),
        ),
    ],
));
const COUNTS: Shape = record(&Record::new(
    "BatchCounts",
    &[always("total", COUNT), always("completed", COUNT), always("failed", COUNT)],
));
const BATCH_STATUS: Shape = Word(&[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]);
/// A batch.
pub(crate) const BATCH: Shape = record(&Record::new(
    "Batch",
    &[
        ID,
        object(&["batch"]),
        always("endpoint", Text),
        nullable("errors", FAULTS),
        always("input_file_id", Text),
        always("completion_window", Text),
        always("status", BATCH_STATUS),
        nullable("output_file_id", Text),
        nullable("error_file_id", Text),
        CREATED_AT,
        nullable("in_progress_at", COUNT),
        EXPIRES_AT,
        nullable("finalizing_at", COUNT),
        nullable("completed_at", COUNT),
        nullable("failed_at", COUNT),
        nullable("expired_at", COUNT),
        nullable("cancelling_at", COUNT),
        nullable("cancelled_at", COUNT),
        always("request_counts", COUNTS),
        always("metadata", Map(&Text)),
    ],
));
/// `GET /v1/batches`.
pub(crate) const BATCHES: Shape = record(&Record::new(
    "Batches",
    &[object(&["list"]), FIRST, LAST, MORE, always("data", list(&BATCH))],
));
/// Items of a response or a conversation, as they came.
pub(crate) const ITEMS: Shape = record(&Record::new(
    "ResponseItems",
    &[object(&["list"]), FIRST, LAST, MORE, always("data", list(&OBJECT))],
));
/// `POST /v1/responses/input_tokens`.
pub(crate) const INPUT_TOKENS: Shape = record(&Record::new(
    "ResponseInputCount",
    &[object(&["response.input_tokens"]), always("input_tokens", COUNT)],
));

const MESSAGE_COUNTS: Shape = record(&Record::new(
    "MessageBatchCounts",
    &[
        always("processing", COUNT),
        always("succeeded", COUNT),
        always("errored", COUNT),
        always("canceled", COUNT),
        always("expired", COUNT),
    ],
));
/// Anthropic's batch.
pub(crate) const MESSAGE_BATCH: Shape = record(&Record::new(
    "MessageBatch",
    &[
        ID,
        of_kind(&["message_batch"]),
        always("processing_status", Word(&["in_progress", "canceling", "ended"])),
        always("request_counts", MESSAGE_COUNTS),
        always("created_at", Text),
        always("expires_at", Text),
        nullable("ended_at", Text),
        nullable("cancel_initiated_at", Text),
        always("archived_at", Null),
        nullable("results_url", Text),
    ],
));
/// `GET /v1/messages/batches`.
pub(crate) const MESSAGE_BATCHES: Shape = record(&Record::new(
    "MessageBatches",
    &[FIRST, LAST, MORE, always("data", list(&MESSAGE_BATCH))],
));
/// `DELETE /v1/messages/batches/{id}`.
pub(crate) const MESSAGE_BATCH_DELETED: Shape =
    record(&Record::new("MessageBatchDeleted", &[ID, of_kind(&["message_batch_deleted"])]));

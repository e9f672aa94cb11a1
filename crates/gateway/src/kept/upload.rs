//! Uploads: a form of several parts, whose file goes to the disk as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use dialect::ApiError;
use dialect::openai::{FILE_PURPOSES, LASTS_MAX, LASTS_MIN};
use http_body::Frame;
use multer::{Constraints, Field, Multipart, SizeLimit};
use store::{FileRow, NewFile, Store, Upload};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::config::Config;
use crate::kept::{Kept, now, refused};
use crate::keys::Caller;
use crate::respond;

/// Most parts of a form, bytes of one that is no file, and bytes of a file's name.
const PARTS_MAX: usize = 32;
const TEXT_BYTES_MAX: u64 = 4096;
const NAME_BYTES_MAX: usize = 1024;
/// What a form has beside its file: heads of parts and the other parts.
const FORM_BYTES_MAX: u64 = 1 << 20;
/// Bytes that go into the form's reader before something comes out: it keeps them and looks through
/// all of them each time, so a head without an end must not be as long as a file.
const HELD_BYTES_MAX: usize = 256 << 10;
/// Pieces that wait for the disk.
const PIECES_MAX: usize = 8;
/// How long a file may be kept, in seconds.
const LASTS: std::ops::RangeInclusive<u64> = LASTS_MIN as u64..=LASTS_MAX as u64;
/// A client that sends too much hears the refusal only once it has sent; this much more is read.
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// A file that has come.
pub(crate) struct Uploaded {
    pub(crate) file: FileRow,
    /// Parts without effect.
    pub(crate) ignored: Vec<String>,
}

/// The parts of a form.
#[derive(Default)]
struct Form {
    upload: Option<(Upload, String)>,
    purpose: Option<String>,
    anchor: Option<String>,
    lasts: Option<String>,
    ignored: Vec<String>,
}

/// Receives a file.
///
/// # Errors
/// The form is broken or incomplete, too much, or too slow; or the store refuses.
pub(crate) async fn receive(
    kept: &Kept,
    config: &Config,
    caller: &Caller,
    request: Request,
) -> Result<Uploaded, ApiError> {
    let boundary = boundary(request.headers())?;
    let limit = kept.rules.file_bytes_max;
    let form = read(request.into_body(), boundary, &kept.store, limit, config);
    let form = timeout(kept.rules.upload_timeout, form).await.map_err(|_| {
        let seconds = kept.rules.upload_timeout.as_secs();
        slow(format!("the upload did not end within {seconds} seconds"))
    })??;
    let Form { upload, purpose, anchor, lasts, ignored } = form;
    let (upload, filename) = upload.ok_or_else(|| missing("file"))?;
    let created_at = now();
    let about = NewFile {
        owner: caller.owner(),
        purpose: purpose_of(purpose)?,
        filename,
        created_at,
        expires_at: expiry(anchor, lasts)?.map(|lasts| created_at.saturating_add(lasts)),
    };
    let (store, quota) = (Arc::clone(&kept.store), kept.rules.files_bytes_max);
    let added = respond::computed(move || store.add_file(upload, about, quota).map_err(refused));
    Ok(Uploaded { file: added.await?, ignored })
}

fn boundary(headers: &HeaderMap) -> Result<String, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    multer::parse_boundary(kind.unwrap_or_default()).map_err(|_| {
        let message = "a file is uploaded as multipart/form-data with a boundary";
        ApiError::new(415, message).with_code("unsupported_media_type")
    })
}

fn slow(message: String) -> ApiError {
    ApiError::new(408, message).with_code("body_timeout")
}

fn missing(name: &str) -> ApiError {
    ApiError::new(400, format!("{name} is missing")).with_param(name)
}

fn purpose_of(purpose: Option<String>) -> Result<String, ApiError> {
    let purpose = purpose.ok_or_else(|| missing("purpose"))?;
    if FILE_PURPOSES.contains(&purpose.as_str()) {
        return Ok(purpose);
    }
    let message = format!("purpose: expected one of {}, got {purpose:?}", FILE_PURPOSES.join(", "));
    Err(ApiError::new(400, message).with_param("purpose"))
}

/// Seconds that the file is kept.
fn expiry(anchor: Option<String>, lasts: Option<String>) -> Result<Option<u64>, ApiError> {
    let bad = |what: &str, got: Option<String>| {
        let message = format!("expires_after: expected {what}, got {got:?}");
        ApiError::new(400, message).with_param("expires_after")
    };
    match (anchor, lasts) {
        (None, None) => Ok(None),
        (Some(anchor), Some(lasts)) if anchor == "created_at" => {
            let seconds = lasts.parse().ok().filter(|seconds| LASTS.contains(seconds));
            let range = format!("seconds from {} to {}", LASTS.start(), LASTS.end());
            seconds.map(Some).ok_or_else(|| bad(&range, Some(lasts)))
        }
        (anchor, _) => Err(bad("an anchor \"created_at\" and seconds", anchor)),
    }
}

async fn read(
    body: Body,
    boundary: String,
    store: &Arc<Store>,
    limit: u64,
    config: &Config,
) -> Result<Form, ApiError> {
    let sizes = SizeLimit::new().whole_stream(limit.saturating_add(FORM_BYTES_MAX));
    let constraints = Constraints::new().size_limit(sizes);
    let held = Arc::<AtomicUsize>::default();
    let body = Body::new(Measured { body, held: Arc::clone(&held) });
    let mut parts = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
    let mut form = Form::default();
    let late = |_| {
        let seconds = config.body_timeout.as_secs_f32();
        slow(format!("nothing came for {seconds} seconds"))
    };
    for _ in 0..PARTS_MAX {
        let part = timeout(config.body_timeout, parts.next_field()).await.map_err(late)?;
        let Some(part) = part.map_err(broken)? else { return Ok(form) };
        let name = part.name().unwrap_or_default().to_owned();
        held.store(0, Ordering::Relaxed);
        let mut part = Part { field: part, held: &held };
        let mut text = async || read_text(&mut part, &name, config).await;
        let place = match name.as_str() {
            "file" => {
                if form.upload.is_some() {
                    return Err(twice("file"));
                }
                form.upload = Some(read_file(part, store, limit, config).await?);
                continue;
            }
            "purpose" => &mut form.purpose,
            "expires_after[anchor]" => &mut form.anchor,
            "expires_after[seconds]" => &mut form.lasts,
            _ => {
                text().await?;
                form.ignored.push(name);
                continue;
            }
        };
        if place.replace(text().await?).is_some() {
            return Err(twice(&name));
        }
    }
    Err(ApiError::new(400, format!("the form has more than {PARTS_MAX} parts")))
}

fn twice(name: &str) -> ApiError {
    ApiError::new(400, format!("{name} is there twice")).with_param(name)
}

fn broken(error: multer::Error) -> ApiError {
    match error {
        multer::Error::StreamSizeExceeded { limit } => {
            let message = format!("the body is longer than the limit of {limit} bytes");
            ApiError::new(413, message).with_code("file_too_large")
        }
        other => ApiError::new(400, format!("the form cannot be read: {other}")),
    }
}

/// A body of which so much has gone into a reader since something came out.
struct Measured {
    body: Body,
    held: Arc<AtomicUsize>,
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let n_bytes = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => 0,
        };
        if self.held.fetch_add(n_bytes, Ordering::Relaxed) + n_bytes > HELD_BYTES_MAX {
            let message = format!("the head of a part has more than {HELD_BYTES_MAX} bytes");
            return Poll::Ready(Some(Err(axum::Error::new(message))));
        }
        Poll::Ready(frame)
    }
}

/// A part of the form.
struct Part<'a> {
    field: Field<'static>,
    /// What the form's reader holds back.
    held: &'a AtomicUsize,
}

/// The next piece of a part.
async fn piece(part: &mut Part<'_>, config: &Config) -> Result<Option<Bytes>, ApiError> {
    match timeout(config.body_timeout, part.field.chunk()).await {
        Ok(piece) => {
            part.held.store(0, Ordering::Relaxed);
            piece.map_err(broken)
        }
        Err(_) => {
            let seconds = config.body_timeout.as_secs_f32();
            Err(slow(format!("nothing came for {seconds} seconds")))
        }
    }
}

async fn read_text(part: &mut Part<'_>, name: &str, config: &Config) -> Result<String, ApiError> {
    let mut bytes = Vec::new();
    while let Some(piece) = piece(part, config).await? {
        if (bytes.len() + piece.len()) as u64 > TEXT_BYTES_MAX {
            let message = format!("{name:?} is longer than the limit of {TEXT_BYTES_MAX} bytes");
            return Err(ApiError::new(400, message));
        }
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes).map_err(|_| ApiError::new(400, format!("{name:?} is not UTF-8")))
}

/// Writes a file to the disk, on a thread of its own, as it comes.
async fn read_file(
    mut part: Part<'_>,
    store: &Arc<Store>,
    limit: u64,
    config: &Config,
) -> Result<(Upload, String), ApiError> {
    let filename = part.field.file_name().unwrap_or("upload").to_owned();
    if filename.len() > NAME_BYTES_MAX {
        let message = format!("the file's name is longer than the limit of {NAME_BYTES_MAX} bytes");
        return Err(ApiError::new(400, message).with_param("file"));
    }
    let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES_MAX);
    let store = Arc::clone(store);
    let written = tokio::task::spawn_blocking(move || {
        let mut upload = store.upload(limit)?;
        while let Some(piece) = pieces.blocking_recv() {
            upload.write(&piece)?;
        }
        Ok(upload)
    });
    let mut n_discarded = 0;
    let come = async {
        while let Some(piece) = piece(&mut part, config).await? {
            // Who writes has given up: the rest is read so that the client hears why.
            if sender.send(piece.clone()).await.is_err() {
                n_discarded += piece.len();
                if n_discarded > DISCARD_BYTES_MAX {
                    break;
                }
            }
        }
        Ok(())
    };
    let come: Result<(), ApiError> = come.await;
    drop(sender);
    let written = written.await.map_err(|error| ApiError::new(500, error.to_string()))?;
    let upload = written.map_err(refused)?;
    come?;
    Ok((upload, filename))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::convert::Infallible;

    /// What forms are made of, and some of what they are not.
    const FRAGMENTS: [&str; 16] = [
        "--B\r\n",
        "--B--\r\n",
        "\r\n--B\r\n",
        "\r\n--B--\r\n",
        "\r\n",
        "\r\n\r\n",
        "content-disposition: form-data; name=\"file\"; filename=\"../a\"\r\n\r\n",
        "content-disposition: form-data; name=\"purpose\"\r\n\r\n",
        "content-disposition: form-data; name=\"expires_after[seconds]\"\r\n\r\n",
        "content-disposition: form-data; name=\"other\"\r\n\r\n",
        "content-disposition: form-data\r\n\r\n",
        "content-type: text/plain; charset=\"\u{fffd}\"\r\n",
        "batch",
        "--B",
        "\0: \u{7f}",
        "a content of a file that is longer than the limit of twenty bytes",
    ];

    /// A body in pieces.
    struct Pieces(VecDeque<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// What was understood of a form, or the status of its refusal.
    type Understood = Result<(Option<(u64, String)>, Option<String>, Vec<String>), u16>;

    async fn understood(store: &Arc<Store>, bytes: &[u8], piece_bytes: usize) -> Understood {
        let pieces = bytes.chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
        let body = Body::new(Pieces(pieces));
        let form = read(body, "B".to_owned(), store, 20, &Config::default()).await;
        let form = form.map_err(|error| error.status)?;
        let file = form.upload.map(|(upload, name)| (upload.n_bytes(), name));
        Ok((file, form.purpose, form.ignored))
    }

    /// A head of a part that does not end is not kept to its end.
    #[test]
    fn a_head_without_an_end_is_refused_early() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store.sqlite")).expect("a new store");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let begin = Bytes::from_static(b"--B\r\ncontent-disposition: form-data; name=\"");
        let endless = std::iter::repeat_n(Bytes::from(vec![b'x'; 1 << 16]), 1 << 10);
        let body = Body::new(Pieces(std::iter::once(begin).chain(endless).collect()));
        let (store, config) = (Arc::new(store), Config::default());
        let form = read(body, "B".to_owned(), &store, 1 << 30, &config);
        let refused = runtime.block_on(form).map(drop).expect_err("a head without an end");
        assert_eq!(refused.status, 400, "{refused:?}");
    }

    /// Any bytes are understood or refused, the same in whatever pieces they come, and nothing
    /// stays on the disk of what is not kept.
    #[test]
    fn any_form_is_understood_or_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store.sqlite")).expect("a new store");
        let store = Arc::new(store);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(choices, piece)| {
            let fragment = |choice: &u8| FRAGMENTS[usize::from(choice % 16)].as_bytes();
            let bytes: Vec<u8> = choices.iter().take(24).flat_map(fragment).copied().collect();
            let split = runtime.block_on(understood(&store, &bytes, usize::from(*piece) + 1));
            let whole = runtime.block_on(understood(&store, &bytes, usize::MAX));
            // Of two things that are wrong, either may be told.
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(split.as_ref().ok(), whole.as_ref().ok(), "{text:?}");
            let left = std::fs::read_dir(folder.path().join("store/files"));
            assert_eq!(left.into_iter().flatten().count(), 0);
        });
    }
}

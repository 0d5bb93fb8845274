//! Upstream's command socket in the run folder, for `gopher-ctl`, and where REST is off. A client sends one block of fixed
//! length, numbers in the host's byte order: command, operation, name, configuration, the texts filled up with NUL. The
//! answer is its length in digits, a newline, and the text, with a NUL behind it where it is about a probe. One request a
//! connection.

use std::io::{Error, Read, Result, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::request::MAX_BODY;
use super::run_folder::SOCKET;
use super::{Answer, Control};
use crate::sinks::exporter;

/// What is asked for, and what is to be done.
const PROBE: u32 = 1;
const METRICS: u32 = 2;
const GET: u32 = 1;
const SET: u32 = 2;

const MAX_NAME: usize = 32;
const HEAD: usize = 8 + MAX_NAME;
const REQUEST: usize = HEAD + MAX_BODY;

/// Requests held at a time, a megabyte each.
const MAX_OPEN: usize = 2;

/// A request has to be here within this, and its answer taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client waits so long, as upstream's does.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

/// Opens the socket in a run folder that is held: what stands there is left from an end that was none.
pub fn open(folder: &Path) -> Result<StdListener> {
    let path = folder.join(SOCKET);
    let _ = std::fs::remove_file(&path);
    let listener = StdListener::bind(&path)?;
    // The folder keeps everybody else out until then.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers for ever.
pub async fn serve(listener: UnixListener, control: Arc<Control>, source: exporter::Source) {
    let room = Arc::new(Semaphore::new(MAX_OPEN));
    loop {
        let Ok(turn) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Without descriptors to spare this would turn as fast as it can.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let (control, source) = (Arc::clone(&control), source.clone());
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(error) = answer(stream, control, source).await {
                tracing::debug!("command socket: {error}");
            }
        });
    }
}

async fn answer(mut stream: UnixStream, control: Arc<Control>, source: exporter::Source) -> Result<()> {
    let mut request = vec![0; REQUEST];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut request)).await??;
    // Starting and stopping block.
    let said = tokio::task::spawn_blocking(move || of(&request, &control, source)).await.map_err(Error::other)?;
    let written = async {
        stream.write_all(format!("{}\n", said.len()).as_bytes()).await?;
        stream.write_all(&said).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(PATIENCE, written).await?
}

fn of(request: &[u8], control: &Control, source: exporter::Source) -> Vec<u8> {
    let number = |at: usize| request[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
    let text = |bytes: &'_ [u8]| bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let name = &request[8..HEAD];
    let name = String::from_utf8_lossy(&name[..text(name)]);
    let config = &request[HEAD..];
    let answer = match (number(0), number(4)) {
        (METRICS, _) => return exporter::whole(source),
        (PROBE, GET) => match control.get(&name) {
            answer if answer.status == 200 => answer,
            _ => Answer::failed(404, "Failed to get probe config"),
        },
        (PROBE, SET) => control.put_json(&name, &config[..text(config)]),
        _ => Answer::failed(400, "Bad request"),
    };
    let mut said = answer.body.into_bytes();
    said.push(0);
    said
}

/// A client's side: what the agent says of a probe, or to its new configuration; whether it is a success stands in the text.
pub fn ask_probe(socket: &Path, name: &str, config: Option<&str>) -> Result<String> {
    let operation = if config.is_some() { SET } else { GET };
    ask(socket, PROBE, operation, name, config.unwrap_or_default())
}

/// A client's side: the exporter's text.
pub fn ask_metrics(socket: &Path) -> Result<String> {
    ask(socket, METRICS, GET, "", "")
}

fn ask(socket: &Path, command: u32, operation: u32, name: &str, config: &str) -> Result<String> {
    // The last byte of each is the NUL that ends it.
    if name.len() >= MAX_NAME || config.len() >= MAX_BODY {
        return Err(Error::other(format!("a name has less than {MAX_NAME} bytes, a configuration less than {MAX_BODY}")));
    }
    let mut request = vec![0; REQUEST];
    request[..4].copy_from_slice(&command.to_ne_bytes());
    request[4..8].copy_from_slice(&operation.to_ne_bytes());
    request[8..8 + name.len()].copy_from_slice(name.as_bytes());
    request[HEAD..HEAD + config.len()].copy_from_slice(config.as_bytes());
    let mut stream = StdStream::connect(socket)?;
    stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
    stream.set_write_timeout(Some(CLIENT_PATIENCE))?;
    stream.write_all(&request)?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said);
    let (length, text) = said.split_once('\n').ok_or_else(|| Error::other("the answer broke off"))?;
    match length.parse::<usize>() {
        Ok(length) if length == text.len() => Ok(text.trim_end_matches('\0').to_owned()),
        _ => Err(Error::other("the answer broke off")),
    }
}

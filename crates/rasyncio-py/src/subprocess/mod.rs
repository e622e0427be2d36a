//! Child processes with streams: `create_subprocess_exec()`, `create_subprocess_shell()` and `Process` (asyncio: subprocess.py).
//!
//! The child itself is the business of `transports/subprocess`. Files by job: this file (how a `Process` is made), `protocol` (what the child's transport
//! calls), `process` (what a program is given).

mod process;
mod protocol;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

pub(crate) use process::Process;
pub(crate) use protocol::SubprocessStreamProtocol;

use protocol::ProtocolFactory;

use crate::coroutines::{Coroutine, wait_for};
use crate::ffi::call::given;
use crate::tasks::running_loop;

/// What both functions were given beside the command.
struct Options {
    streams: [Option<Py<PyAny>>; 3],
    limit: Option<Py<PyAny>>,
    others: Option<Py<PyDict>>,
}

/// Starts `program` with the arguments `args` in a child process; returns a `Process`.
///
/// Parameters: `limit` of the readers, in bytes; all others are those of `loop.subprocess_exec()`, and so those of `subprocess.Popen`.
#[pyfunction]
#[pyo3(
    signature = (program, *args, stdin = None, stdout = None, stderr = None, limit = None, **kwds),
    text_signature = "(program, *args, stdin=None, stdout=None, stderr=None, limit=65536, **kwds)"
)]
#[expect(clippy::too_many_arguments, reason = "asyncio's signature")]
pub(crate) fn create_subprocess_exec<'py>(
    py: Python<'py>,
    program: Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    stdin: Option<Py<PyAny>>,
    stdout: Option<Py<PyAny>>,
    stderr: Option<Py<PyAny>>,
    #[pyo3(from_py_with = given)] limit: Option<Py<PyAny>>,
    kwds: Option<Py<PyDict>>,
) -> PyResult<Bound<'py, Coroutine>> {
    let command: Vec<_> = std::iter::once(program).chain(args.iter()).collect();
    let options = Options { streams: [stdin, stdout, stderr], limit, others: kwds };
    start(py, "create_subprocess_exec", "subprocess_exec", &command, options)
}

/// Starts a shell with the command `cmd` in a child process; returns a `Process`.
///
/// Parameters: `limit` of the readers, in bytes; all others are those of `loop.subprocess_shell()`, and so those of `subprocess.Popen`.
#[pyfunction]
#[pyo3(
    signature = (cmd, stdin = None, stdout = None, stderr = None, limit = None, **kwds),
    text_signature = "(cmd, stdin=None, stdout=None, stderr=None, limit=65536, **kwds)"
)]
pub(crate) fn create_subprocess_shell<'py>(
    py: Python<'py>,
    cmd: Bound<'py, PyAny>,
    stdin: Option<Py<PyAny>>,
    stdout: Option<Py<PyAny>>,
    stderr: Option<Py<PyAny>>,
    #[pyo3(from_py_with = given)] limit: Option<Py<PyAny>>,
    kwds: Option<Py<PyDict>>,
) -> PyResult<Bound<'py, Coroutine>> {
    let options = Options { streams: [stdin, stdout, stderr], limit, others: kwds };
    start(py, "create_subprocess_shell", "subprocess_shell", &[cmd], options)
}

fn start<'py>(
    py: Python<'py>,
    name: &'static str,
    method: &'static str,
    command: &[Bound<'py, PyAny>],
    options: Options,
) -> PyResult<Bound<'py, Coroutine>> {
    let command = PyTuple::new(py, command)?.unbind();
    Coroutine::make(py, name, async move {
        let (event_loop, starting) = Python::attach(|py| {
            let event_loop = running_loop(py)?;
            let factory = ProtocolFactory::make(&event_loop, options.limit.as_ref())?;
            let arguments: Vec<_> = std::iter::once(factory).chain(command.bind(py).iter()).collect();
            let keywords = match &options.others {
                Some(others) => others.bind(py).copy()?,
                None => PyDict::new(py),
            };
            for (name, stream) in STREAMS.into_iter().zip(&options.streams) {
                keywords.set_item(name, stream)?;
            }
            let method = PyString::new(py, method);
            let starting = event_loop.call_method(method, PyTuple::new(py, arguments)?, Some(&keywords))?;
            Ok::<_, PyErr>((event_loop.unbind(), starting.unbind()))
        })?;
        let started = wait_for(starting).await?;
        Python::attach(|py| {
            let started = started.bind(py);
            let process = Process::make(&started.get_item(0)?, &started.get_item(1)?, event_loop.bind(py))?;
            Ok(process.into_any().unbind())
        })
    })
}

/// What a child's descriptors 0, 1 and 2 are called.
const STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];

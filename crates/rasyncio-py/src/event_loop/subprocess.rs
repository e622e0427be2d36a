//! `subprocess_exec()` and `subprocess_shell()` (asyncio: `base_events.py`, `unix_events.py`).

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyString, PyTuple};

use super::Loop;
use super::children::watcher_of_program;
use crate::coroutines::{Coroutine, wait_for};
use crate::ffi::call::given;
use crate::futures::Future;
use crate::interop::{must_propagate, stdlib};
use crate::transports::subprocess::{Command, PIPE, SubprocessTransport};

#[pymethods]
impl Loop {
    /// Starts `program` with the arguments `args` (str or bytes) in a child process; returns `(transport, protocol)`.
    ///
    /// `stdin`, `stdout`, `stderr` and the other keywords are those of `subprocess.Popen`, but those for text and buffers, which ValueError refuses.
    #[pyo3(
        signature = (
            protocol_factory, program, *args, stdin = None, stdout = None, stderr = None, universal_newlines = None, shell = None,
            bufsize = None, encoding = None, errors = None, text = None, **kwargs,
        ),
        text_signature = "($self, protocol_factory, program, *args, stdin=-1, stdout=-1, stderr=-1, universal_newlines=False, \
            shell=False, bufsize=0, encoding=None, errors=None, text=None, **kwargs)"
    )]
    #[expect(clippy::too_many_arguments, reason = "asyncio's signature")]
    fn subprocess_exec<'py>(
        this: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        program: Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        #[pyo3(from_py_with = given)] stdin: Option<Py<PyAny>>,
        #[pyo3(from_py_with = given)] stdout: Option<Py<PyAny>>,
        #[pyo3(from_py_with = given)] stderr: Option<Py<PyAny>>,
        universal_newlines: Option<Py<PyAny>>,
        shell: Option<Py<PyAny>>,
        #[pyo3(from_py_with = given)] bufsize: Option<Py<PyAny>>,
        encoding: Option<Py<PyAny>>,
        errors: Option<Py<PyAny>>,
        text: Option<Py<PyAny>>,
        kwargs: Option<Py<PyDict>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let py = this.py();
        let refused = Refused { universal_newlines, shell, bufsize, text, encoding, errors };
        let arguments: Vec<_> = std::iter::once(program).chain(args).collect();
        let arguments = PyTuple::new(py, arguments)?.into_any().unbind();
        let streams = [stdin, stdout, stderr].map(|stream| stream_or_pipe(py, stream));
        let command = Command { arguments, shell: false, streams, options: kwargs };
        let event_loop = this.clone().unbind();
        Coroutine::make(py, "EventLoop.subprocess_exec", async move {
            Python::attach(|py| refused.check(py, false))?;
            run(&event_loop, protocol_factory, command).await
        })
    }

    /// Starts a shell with the command `cmd` (str or bytes) in a child process; returns `(transport, protocol)`.
    ///
    /// The keywords are those of `subprocess_exec()`.
    #[pyo3(
        signature = (
            protocol_factory, cmd, *, stdin = None, stdout = None, stderr = None, universal_newlines = None, shell = None,
            bufsize = None, encoding = None, errors = None, text = None, **kwargs,
        ),
        text_signature = "($self, protocol_factory, cmd, *, stdin=-1, stdout=-1, stderr=-1, universal_newlines=False, shell=True, \
            bufsize=0, encoding=None, errors=None, text=None, **kwargs)"
    )]
    #[expect(clippy::too_many_arguments, reason = "asyncio's signature")]
    fn subprocess_shell<'py>(
        this: &Bound<'py, Self>,
        protocol_factory: Py<PyAny>,
        cmd: Py<PyAny>,
        #[pyo3(from_py_with = given)] stdin: Option<Py<PyAny>>,
        #[pyo3(from_py_with = given)] stdout: Option<Py<PyAny>>,
        #[pyo3(from_py_with = given)] stderr: Option<Py<PyAny>>,
        universal_newlines: Option<Py<PyAny>>,
        #[pyo3(from_py_with = given)] shell: Option<Py<PyAny>>,
        #[pyo3(from_py_with = given)] bufsize: Option<Py<PyAny>>,
        encoding: Option<Py<PyAny>>,
        errors: Option<Py<PyAny>>,
        text: Option<Py<PyAny>>,
        kwargs: Option<Py<PyDict>>,
    ) -> PyResult<Bound<'py, Coroutine>> {
        let py = this.py();
        let refused = Refused { universal_newlines, shell, bufsize, text, encoding, errors };
        let streams = [stdin, stdout, stderr].map(|stream| stream_or_pipe(py, stream));
        let command = Command { arguments: cmd, shell: true, streams, options: kwargs };
        let event_loop = this.clone().unbind();
        Coroutine::make(py, "EventLoop.subprocess_shell", async move {
            Python::attach(|py| {
                let text = command.arguments.bind(py);
                if !text.is_instance_of::<PyBytes>() && !text.is_instance_of::<PyString>() {
                    return Err(PyValueError::new_err("cmd must be a string"));
                }
                refused.check(py, true)
            })?;
            run(&event_loop, protocol_factory, command).await
        })
    }
}

/// What was given for one of the child's standard streams; PIPE unless anything was.
fn stream_or_pipe(py: Python<'_>, stream: Option<Py<PyAny>>) -> Py<PyAny> {
    stream.unwrap_or_else(|| PyInt::new(py, PIPE).into_any().unbind())
}

/// The arguments of `Popen` that have but one right value here.
struct Refused {
    universal_newlines: Option<Py<PyAny>>,
    shell: Option<Py<PyAny>>,
    bufsize: Option<Py<PyAny>>,
    text: Option<Py<PyAny>>,
    encoding: Option<Py<PyAny>>,
    errors: Option<Py<PyAny>>,
}

impl Refused {
    /// asyncio's checks, in its order. `shell`: what that argument has to be, and is if it was not given.
    fn check(&self, py: Python<'_>, shell: bool) -> PyResult<()> {
        let is_true = |argument: &Option<Py<PyAny>>, default: bool| match argument {
            Some(argument) => argument.bind(py).is_truthy(),
            None => Ok(default),
        };
        let is_buffered = match &self.bufsize {
            Some(size) => size.bind(py).ne(0)?,
            None => false,
        };
        let wrong = [
            (is_true(&self.universal_newlines, false)?, "universal_newlines must be False"),
            (
                is_true(&self.shell, shell)? != shell,
                if shell { "shell must be True" } else { "shell must be False" },
            ),
            (is_buffered, "bufsize must be 0"),
            (is_true(&self.text, false)?, "text must be False"),
            (self.encoding.is_some(), "encoding must be None"),
            (self.errors.is_some(), "errors must be None"),
        ];
        match wrong.into_iter().find_map(|(is_wrong, text)| is_wrong.then_some(text)) {
            Some(text) => Err(PyValueError::new_err(text)),
            None => Ok(()),
        }
    }
}

/// The rest of both methods.
async fn run(event_loop: &Py<Loop>, factory: Py<PyAny>, command: Command) -> PyResult<Py<PyAny>> {
    let (protocol, shown) = Python::attach(|py| {
        let protocol = factory.bind(py).call0()?.unbind();
        let shown = if event_loop.get().is_debug(py) { Some(announce(py, &command)?) } else { None };
        Ok::<_, PyErr>((protocol, shown))
    })?;
    let own_protocol = Python::attach(|py| protocol.clone_ref(py));
    let transport = start_watched(event_loop, own_protocol, command).await?;
    Python::attach(|py| {
        if let Some(shown) = shown
            && event_loop.get().is_debug(py)
        {
            let logger = stdlib(py).logger.bind(py);
            logger.call_method1(intern!(py, "info"), ("%s: %r", shown, &transport))?;
        }
        Ok((transport, protocol).into_pyobject(py)?.into_any().unbind())
    })
}

/// Debug mode: logs what is about to be started, and answers how to call it.
fn announce(py: Python<'_>, command: &Command) -> PyResult<String> {
    let shown = if command.shell {
        format!("run shell command {}", command.arguments.bind(py).repr()?)
    } else {
        format!("execute program {}", command.program(py)?.repr()?)
    };
    let mut words = vec![shown.clone()];
    let [stdin, stdout, stderr] = command.streams.each_ref().map(|stream| stream.bind(py));
    let is_joined = !stdout.is_none() && stderr.eq(STDOUT)?;
    let streams = if is_joined {
        vec![("stdin", stdin), ("stdout=stderr", stdout)]
    } else {
        vec![("stdin", stdin), ("stdout", stdout), ("stderr", stderr)]
    };
    for (name, stream) in streams {
        if !stream.is_none() {
            words.push(format!("{name}={}", shown_stream(stream)?));
        }
    }
    stdlib(py).logger.bind(py).call_method1(intern!(py, "debug"), (words.join(" "),))?;
    Ok(shown)
}

fn shown_stream(stream: &Bound<'_, PyAny>) -> PyResult<String> {
    if stream.eq(PIPE)? {
        return Ok("<pipe>".to_owned());
    }
    if stream.eq(STDOUT)? {
        return Ok("<stdout>".to_owned());
    }
    Ok(stream.repr()?.to_string())
}

/// Starts the child under the program's own watcher, if there is one.
async fn start_watched(
    event_loop: &Py<Loop>,
    protocol: Py<PyAny>,
    command: Command,
) -> PyResult<Py<SubprocessTransport>> {
    let entered = Python::attach(|py| {
        let Some(watcher) = watcher_of_program(py)? else {
            return Ok(None);
        };
        let entered = watcher.call_method0(intern!(py, "__enter__"))?;
        // asyncio: 3.11 goes on with what the watcher answers, later versions with the watcher.
        let asked = if py.version_info() < (3, 12) { entered } else { watcher.clone() };
        PyResult::Ok(Some((watcher.unbind(), asked.unbind())))
    })?;
    let Some((watcher, asked)) = entered else {
        return start(event_loop, protocol, command, None).await;
    };
    let outcome = start(event_loop, protocol, command, Some(asked)).await;
    Python::attach(|py| {
        let arguments = match &outcome {
            Ok(_) => (py.None(), py.None(), py.None()).into_pyobject(py)?,
            Err(error) => (error.get_type(py), error.value(py), error.traceback(py)).into_pyobject(py)?,
        };
        watcher.bind(py).call_method1(intern!(py, "__exit__"), arguments)?;
        outcome
    })
}

/// Starts the child and connects its pipes. If that fails or is cancelled, the child is killed, and gone when this returns.
async fn start(
    event_loop: &Py<Loop>,
    protocol: Py<PyAny>,
    command: Command,
    watcher: Option<Py<PyAny>>,
) -> PyResult<Py<SubprocessTransport>> {
    let (transport, waiter) =
        Python::attach(move |py| begin(event_loop.bind(py), protocol, &command, watcher.as_ref()))?;
    let Err(error) = wait_for(waiter).await else {
        return Ok(transport);
    };
    let waiting = Python::attach(|py| {
        if must_propagate(py, &error) {
            return Ok(None);
        }
        let transport = transport.bind(py);
        SubprocessTransport::end(transport)?;
        PyResult::Ok(Some(SubprocessTransport::wait(transport)?.into_any().unbind()))
    })?;
    if let Some(waiting) = waiting {
        wait_for(waiting).await?;
    }
    Err(error)
}

/// The transport of a child that is watched, and who is told when its pipes are connected.
fn begin(
    event_loop: &Bound<'_, Loop>,
    protocol: Py<PyAny>,
    command: &Command,
    watcher: Option<&Py<PyAny>>,
) -> PyResult<(Py<SubprocessTransport>, Py<PyAny>)> {
    let py = event_loop.py();
    if let Some(watcher) = watcher
        && !watcher.bind(py).call_method0(intern!(py, "is_active"))?.is_truthy()?
    {
        let text = "asyncio.get_child_watcher() is not activated, subprocess support is not installed.";
        return Err(crate::exceptions::runtime(text));
    }
    event_loop.get().check_usable()?;
    let transport = SubprocessTransport::start(event_loop, protocol, command)?;
    let waiter = Py::new(py, Future::pending(event_loop.clone().into_any().unbind()))?;
    let own_waiter = waiter.clone_ref(py);
    let begun = watch(event_loop, &transport, watcher).and_then(|()| {
        let connecting = SubprocessTransport::connect_pipes(&transport, own_waiter)?;
        event_loop.call_method1(intern!(py, "create_task"), (connecting,))
    });
    if let Err(error) = begun {
        SubprocessTransport::give_up(&transport)?;
        return Err(error);
    }
    Ok((transport.unbind(), waiter.into_any()))
}

fn watch(
    event_loop: &Bound<'_, Loop>,
    transport: &Bound<'_, SubprocessTransport>,
    watcher: Option<&Py<PyAny>>,
) -> PyResult<()> {
    let Some(watcher) = watcher else {
        return Loop::watch_child(event_loop, transport);
    };
    let py = event_loop.py();
    let callback = event_loop.getattr(intern!(py, "_child_watcher_callback"))?;
    let arguments = (transport.get().pid(), callback, transport);
    watcher.bind(py).call_method1(intern!(py, "add_child_handler"), arguments).map(drop)
}

/// `subprocess.STDOUT`.
const STDOUT: i32 = -2;

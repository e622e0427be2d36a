//! `install()` and `uninstall()`: the names in the `asyncio` package and its submodules become ours, and theirs again.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString};

/// One name that was replaced.
struct Replaced {
    module: Py<PyModule>,
    name: Py<PyString>,
    original: Py<PyAny>,
    ours: Py<PyAny>,
}

/// What `uninstall()` has to put back; empty when nothing is installed.
struct Installed {
    names: Vec<Replaced>,
    policy: Option<Py<PyAny>>,
}

static INSTALLED: Mutex<Option<Installed>> = Mutex::new(None);

/// Replaces asyncio's names by ours in the `asyncio` package and all its submodules, for the whole process. Calling it again does nothing.
///
/// What a module took from asyncio before by `from asyncio import ...` stays what it was, and works with our loop.
#[pyfunction]
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    if lock().is_some() {
        return Ok(());
    }
    let mut names = Vec::new();
    let pairs = replacements(py)?;
    for module in asyncio_modules(py)? {
        for (name, value) in module.dict().iter() {
            let Ok(name) = name.cast_into::<PyString>() else {
                continue;
            };
            // The name counts too: one class of asyncio's has several, such as `EventLoop` and `SelectorEventLoop`.
            let text = name.to_string();
            let pair = pairs.iter().find(|(known, original, _)| *known == text && original.is(&value));
            let Some((_, _, ours)) = pair else {
                continue;
            };
            names.push(Replaced {
                module: module.clone().unbind(),
                name: name.unbind(),
                original: value.unbind(),
                ours: ours.clone().unbind(),
            });
        }
    }
    for replaced in &names {
        replaced.module.bind(py).setattr(&replaced.name, &replaced.ours)?;
    }
    let policy = replace_policy(py)?;
    *lock() = Some(Installed { names, policy: Some(policy) });
    Ok(())
}

/// Takes `install()` back: every name is again what it was, unless somebody else replaced it since. Without `install()` it does nothing.
#[pyfunction]
pub(crate) fn uninstall(py: Python<'_>) -> PyResult<()> {
    let Some(installed) = lock().take() else {
        return Ok(());
    };
    for replaced in &installed.names {
        let module = replaced.module.bind(py);
        if module.getattr(&replaced.name)?.is(&replaced.ours) {
            module.setattr(&replaced.name, &replaced.original)?;
        }
    }
    let policy_module = py.import("asyncio.events")?;
    if let Some(policy) = installed.policy {
        let ours = py.import("rasyncio._rasyncio")?.getattr("EventLoopPolicy")?;
        let current = policy_module.getattr(POLICY)?;
        if current.is_instance(&ours)? {
            policy_module.setattr(POLICY, policy)?;
        }
    }
    Ok(())
}

/// Whether asyncio's names are ours now.
pub(crate) fn is_installed() -> bool {
    lock().is_some()
}

fn lock() -> std::sync::MutexGuard<'static, Option<Installed>> {
    INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Makes new loops of the policy ours; returns the policy from before (None: none was made yet).
fn replace_policy(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let events = py.import("asyncio.events")?;
    let before = events.getattr(POLICY)?.unbind();
    let ours = py.import("rasyncio._rasyncio")?.getattr("EventLoopPolicy")?.call0()?;
    // Set like this, because the public function warns from 3.14 on that policies go away.
    events.setattr(POLICY, ours)?;
    Ok(before)
}

fn asyncio_modules(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyModule>>> {
    let loaded = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.copy()?;
    let mut modules = Vec::new();
    for (name, module) in loaded.iter() {
        let Ok(name) = name.extract::<String>() else {
            continue;
        };
        if (name == "asyncio" || name.starts_with("asyncio."))
            && let Ok(module) = module.cast_into::<PyModule>()
        {
            modules.push(module);
        }
    }
    Ok(modules)
}

/// A name, the standard library's object and ours.
type Replacement<'py> = (&'static str, Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Names, the standard library's objects behind them, and ours that take their places.
fn replacements(py: Python<'_>) -> PyResult<Vec<Replacement<'_>>> {
    let ours = py.import("rasyncio._rasyncio")?;
    let mut pairs = Vec::new();
    for (module, name) in NATIVE {
        let original = py.import(module)?.getattr_opt(name)?;
        if let Some(original) = original {
            pairs.push((name, original, ours.getattr(name)?));
        }
    }
    Ok(pairs)
}

/// Where the current policy is kept.
const POLICY: &str = "_event_loop_policy";

/// What is native by now, and the module that defines it. Not every version of asyncio has all of them.
///
/// `Server` stays asyncio's: its own loops make theirs by that name, and ours is an instance of it too.
const NATIVE: [(&str, &str); 47] = [
    ("asyncio.futures", "Future"),
    ("asyncio.tasks", "Task"),
    ("asyncio.events", "Handle"),
    ("asyncio.events", "TimerHandle"),
    ("asyncio.unix_events", "EventLoop"),
    ("asyncio.runners", "Runner"),
    ("asyncio.runners", "run"),
    ("asyncio.locks", "Lock"),
    ("asyncio.locks", "Event"),
    ("asyncio.locks", "Condition"),
    ("asyncio.locks", "Semaphore"),
    ("asyncio.locks", "BoundedSemaphore"),
    ("asyncio.locks", "Barrier"),
    ("asyncio.queues", "Queue"),
    ("asyncio.queues", "PriorityQueue"),
    ("asyncio.queues", "LifoQueue"),
    ("asyncio.tasks", "as_completed"),
    ("asyncio.tasks", "create_task"),
    ("asyncio.tasks", "create_eager_task_factory"),
    ("asyncio.tasks", "eager_task_factory"),
    ("asyncio.tasks", "ensure_future"),
    ("asyncio.tasks", "gather"),
    ("asyncio.tasks", "run_coroutine_threadsafe"),
    ("asyncio.tasks", "shield"),
    ("asyncio.tasks", "sleep"),
    ("asyncio.tasks", "wait"),
    ("asyncio.tasks", "wait_for"),
    ("asyncio.futures", "wrap_future"),
    ("asyncio.futures", "future_add_to_awaited_by"),
    ("asyncio.futures", "future_discard_from_awaited_by"),
    ("asyncio.threads", "to_thread"),
    ("asyncio.taskgroups", "TaskGroup"),
    ("asyncio.timeouts", "Timeout"),
    ("asyncio.timeouts", "timeout"),
    ("asyncio.timeouts", "timeout_at"),
    ("asyncio.streams", "FlowControlMixin"),
    ("asyncio.streams", "StreamReader"),
    ("asyncio.streams", "StreamReaderProtocol"),
    ("asyncio.streams", "StreamWriter"),
    ("asyncio.streams", "open_connection"),
    ("asyncio.streams", "start_server"),
    ("asyncio.streams", "open_unix_connection"),
    ("asyncio.streams", "start_unix_server"),
    ("asyncio.subprocess", "SubprocessStreamProtocol"),
    ("asyncio.subprocess", "Process"),
    ("asyncio.subprocess", "create_subprocess_exec"),
    ("asyncio.subprocess", "create_subprocess_shell"),
];

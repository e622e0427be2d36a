//! The extension module `rasyncio._rasyncio`: registers the classes and functions, nothing else.

mod all_tasks;
mod coroutines;
mod event_loop;
mod exceptions;
mod ffi;
mod futures;
mod graph;
mod handles;
mod install;
mod interop;
mod locks;
mod policy;
mod queues;
mod runners;
mod streams;
mod subprocess;
mod taskgroups;
mod tasks;
mod threads;
mod timeouts;
mod transports;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _rasyncio {
    use pyo3::intern;
    use pyo3::prelude::*;
    use pyo3::types::PyType;

    #[pymodule_export]
    use crate::coroutines::Coroutine;
    use crate::event_loop::CreateTask;
    #[pymodule_export]
    use crate::event_loop::{Loop, Server};
    use crate::futures::SetResult;
    #[pymodule_export]
    use crate::futures::{Future, FutureIter};
    #[pymodule_export]
    use crate::handles::{Handle, TimerHandle};
    #[pymodule_export]
    use crate::install::{install, uninstall};
    #[pymodule_export]
    use crate::locks::{Barrier, BoundedSemaphore, Condition, Event, Lock, LoopBound, Semaphore};
    #[pymodule_export]
    use crate::policy::new_event_loop;
    #[pymodule_export]
    use crate::queues::{LifoQueue, PriorityQueue, Queue};
    #[pymodule_export]
    use crate::runners::{Runner, run};
    #[pymodule_export]
    use crate::streams::{FlowControl, StreamReader, StreamReaderProtocol, StreamWriter};
    #[pymodule_export]
    use crate::streams::{open_connection, open_unix_connection, start_server, start_unix_server};
    #[pymodule_export]
    use crate::subprocess::{
        Process, SubprocessStreamProtocol, create_subprocess_exec, create_subprocess_shell,
    };
    #[pymodule_export]
    use crate::taskgroups::TaskGroup;
    use crate::tasks::GatheringFuture;
    #[pymodule_export]
    use crate::tasks::Task;
    #[pymodule_export]
    use crate::timeouts::Timeout;
    #[pymodule_export]
    use crate::transports::datagram::DatagramTransport;
    #[pymodule_export]
    use crate::transports::read_pipe::ReadPipeTransport;
    #[pymodule_export]
    use crate::transports::subprocess::{PipeProtocol, ReadPipeProtocol, SubprocessTransport};
    #[pymodule_export]
    use crate::transports::tcp::TcpTransport;
    #[pymodule_export]
    use crate::transports::tls::TlsTransport;
    #[pymodule_export]
    use crate::transports::write_pipe::WritePipeTransport;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        crate::interop::load(py)?;
        // The base before the class that extends it, which inherits the slots.
        crate::ffi::finalize::install::<Future>(py);
        crate::ffi::finalize::install::<Task>(py);
        crate::ffi::finalize::install::<GatheringFuture>(py);
        crate::ffi::finalize::install::<TcpTransport>(py);
        crate::ffi::finalize::install::<ReadPipeTransport>(py);
        crate::ffi::finalize::install::<WritePipeTransport>(py);
        crate::ffi::finalize::install::<DatagramTransport>(py);
        crate::ffi::finalize::install::<SubprocessTransport>(py);
        crate::ffi::finalize::install::<TlsTransport>(py);
        crate::ffi::finalize::install::<StreamWriter>(py);
        crate::ffi::finalize::install::<Coroutine>(py);
        crate::ffi::slots::install_await::<Future>(py);
        crate::ffi::slots::install_await::<Task>(py);
        crate::ffi::slots::install_await::<GatheringFuture>(py);
        crate::ffi::recycle::install::<Future>(py);
        crate::ffi::recycle::install::<Task>(py);
        crate::ffi::recycle::install::<FutureIter>(py);
        crate::ffi::slots::install_next::<FutureIter>(py);
        crate::ffi::slots::install_send::<FutureIter>(py);
        crate::ffi::recycle::install::<Coroutine>(py);
        crate::ffi::slots::install_await::<Coroutine>(py);
        crate::ffi::slots::install_next::<Coroutine>(py);
        crate::ffi::slots::install_send::<Coroutine>(py);
        crate::ffi::recycle::install::<Handle>(py);
        crate::ffi::recycle::install::<TimerHandle>(py);
        crate::handles::add_methods(py)?;
        Loop::add_methods(py)?;
        crate::ffi::methods::install::<SetResult>(py)?;
        crate::ffi::methods::install::<CreateTask>(py)?;
        crate::locks::add_methods(py)?;
        Queue::add_methods(py)?;
        crate::tasks::add_functions(module)?;
        crate::timeouts::add(module)?;
        crate::threads::add(module)?;
        crate::graph::add(module)?;
        crate::taskgroups::add(py)?;
        crate::streams::add_methods(py)?;
        crate::transports::add_methods(py)?;
        crate::policy::add_classes(module)?;
        name_classes(module)?;
        crate::coroutines::adopt(module)
    }

    /// The interpreter's messages show a class by the name it was given, which PyO3 makes `module.Class`; asyncio's are just `Class`.
    fn name_classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
        for value in module.dict().values() {
            if let Ok(class) = value.cast_into::<PyType>() {
                class.setattr(intern!(class.py(), "__name__"), class.name()?)?;
            }
        }
        Ok(())
    }
}

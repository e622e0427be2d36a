//! The methods that Python sees alike on several classes of transports. A trait cannot give a class methods of Python's, so macros write them; what
//! they do is in the traits.

/// Of each transport over a descriptor.
macro_rules! life_methods {
    ($class:ident) => {
        #[pymethods]
        impl $class {
            /// Whether the transport is closing or closed.
            fn is_closing(&self, py: Python<'_>) -> bool {
                self.life(py, |life| life.closing)
            }

            /// The protocol; None after the transport was closed.
            fn get_protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
                self.protocol(py)
            }

            #[getter]
            fn _protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
                self.protocol(py)
            }

            #[getter]
            fn _closing(&self, py: Python<'_>) -> bool {
                self.life(py, |life| life.closing)
            }
        }
    };
}

/// Of each transport that reads.
macro_rules! reading_methods {
    ($class:ident) => {
        #[pymethods]
        impl $class {
            /// Whether the transport reads: it is neither paused nor closing.
            fn is_reading(&self, py: Python<'_>) -> bool {
                self.life(py, |life| life.is_reading())
            }

            /// Hands nothing more to the protocol until `resume_reading()`. May be called again.
            fn pause_reading(this: &Bound<'_, Self>) -> PyResult<()> {
                Self::pause(this)
            }

            #[getter]
            fn _paused(&self, py: Python<'_>) -> bool {
                self.life(py, |life| life.reading_paused)
            }
        }
    };
}

/// Of each transport that writes.
macro_rules! writing_methods {
    ($class:ident) => {
        #[pymethods]
        impl $class {
            /// Ends the transport at once; what was not sent is lost.
            fn abort(this: &Bound<'_, Self>) -> PyResult<()> {
                Self::force_close(this, None)
            }

            /// The limits of the write buffer as `(low, high)`.
            fn get_write_buffer_limits(&self, py: Python<'_>) -> (usize, usize) {
                self.limits(py)
            }

            #[getter]
            fn _protocol_paused(&self, py: Python<'_>) -> bool {
                self.flow(py, |flow, _| flow.protocol_paused)
            }
        }
    };
}

/// Of each transport of a socket.
macro_rules! socket_methods {
    ($class:ident) => {
        #[pymethods]
        impl $class {
            /// What is known of the socket: "socket", "sockname", "peername".
            #[pyo3(signature = (name, default = None))]
            fn get_extra_info<'py>(
                this: &Bound<'py, Self>,
                name: &Bound<'py, PyAny>,
                default: Option<Bound<'py, PyAny>>,
            ) -> PyResult<Option<Bound<'py, PyAny>>> {
                Ok(Self::extra_info(this, name)?.or(default))
            }

            fn _force_close(this: &Bound<'_, Self>, exc: Option<Bound<'_, PyAny>>) -> PyResult<()> {
                Self::force_close(this, exc.map(PyErr::from_value))
            }

            #[getter]
            fn _loop(&self, py: Python<'_>) -> Py<Loop> {
                self.event_loop.clone_ref(py)
            }

            /// The socket object itself; None once it is closed.
            #[getter]
            fn _sock<'py>(this: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
                Self::socket_object(this)
            }

            #[getter]
            fn _sock_fd(&self) -> i32 {
                self.fd
            }

            #[getter]
            fn _conn_lost(&self, py: Python<'_>) -> u32 {
                self.life(py, |life| life.conn_lost)
            }
        }
    };
}

/// Of both ends of pipes.
macro_rules! pipe_methods {
    ($class:ident) => {
        #[pymethods]
        impl $class {
            /// What is known of the transport: "pipe", the object that the loop was given.
            #[pyo3(signature = (name, default = None))]
            fn get_extra_info<'py>(
                &self,
                name: &Bound<'py, PyAny>,
                default: Option<Bound<'py, PyAny>>,
            ) -> PyResult<Option<Bound<'py, PyAny>>> {
                Ok(self.information(name)?.or(default))
            }

            /// Sets the protocol that is called from now on.
            fn set_protocol(&self, protocol: &Bound<'_, PyAny>) {
                self.change_protocol(protocol);
            }

            #[getter]
            fn _loop(&self, py: Python<'_>) -> Option<Py<Loop>> {
                self.open_loop(py)
            }

            #[getter]
            fn _pipe(&self, py: Python<'_>) -> Option<Py<PyAny>> {
                self.open_pipe(py)
            }

            /// None takes the pipe away from the transport, which then neither closes it nor warns of it.
            #[setter(_pipe)]
            fn set_pipe(&self, py: Python<'_>, pipe: Option<Py<PyAny>>) {
                self.replace_pipe(py, pipe);
            }

            #[getter]
            fn _fileno(&self) -> i32 {
                self.end.fd
            }
        }
    };
}

pub(super) use {life_methods, pipe_methods, reading_methods, socket_methods, writing_methods};

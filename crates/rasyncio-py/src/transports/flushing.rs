//! The end of a turn in which several transports collected bytes, with a reactor that sends for all of them by one call.

use std::io;

use pyo3::prelude::*;
use rasyncio_core::buffer::{Removed, WriteQueue};
use rasyncio_core::reactor::{Outgoing, Token};

use super::flow_control::{Block, SLICES, Sending};
use super::life::Transport;
use super::tcp::TcpTransport;
use super::tls::TlsTransport;
use crate::event_loop::Loop;

/// What a transport has to send, out of its hands while it is sent.
struct Offer<'a, 'py> {
    transport: &'a Bound<'py, TcpTransport>,
    token: Token,
    queue: WriteQueue<Block>,
}

impl TcpTransport {
    /// `flush` for each of them. Takes from `transports` those that are through, the one that failed among them: what it fails with must end the
    /// program.
    pub(crate) fn flush_together<'py>(
        transports: &mut impl Iterator<Item = Py<Self>>,
        event_loop: &Bound<'py, Loop>,
    ) -> PyResult<()> {
        let py = event_loop.py();
        let mut outcome = Ok(());
        let mut flushed: Vec<Bound<'py, Self>> = Vec::with_capacity(transports.size_hint().0);
        for transport in transports {
            let transport = transport.into_bound(py);
            outcome = Self::encrypt_collected(&transport);
            flushed.push(transport);
            if outcome.is_err() {
                break;
            }
        }
        let sent = Self::send_together(&flushed, event_loop);
        outcome.and(sent)
    }

    /// TLS hands over what it collected, and may have to tell the protocol to pause.
    fn encrypt_collected(this: &Bound<'_, Self>) -> PyResult<()> {
        let py = this.py();
        match this.get().state.with(py, |state| state.tls(py)) {
            Some(tls) => this.get().in_context(py, || TlsTransport::flush(tls.bind(py).cast_exact()?)),
            None => Ok(()),
        }
    }

    /// No Python code runs from the moment when the bytes of the first are taken from it until those of all are where they belong: nobody sees a
    /// transport without them. So no transport may be let go of meanwhile, either.
    fn send_together<'py>(transports: &[Bound<'py, Self>], event_loop: &Bound<'py, Loop>) -> PyResult<()> {
        let py = event_loop.py();
        let (offers, answers) = event_loop.get().with_reactor(py, |reactor| {
            let offers: Vec<Offer<'_, 'py>> = transports.iter().filter_map(Offer::of).collect();
            let sends = offers.iter().map(|offer| reactor.outgoing(offer.token, offer.queue.slices(SLICES)));
            let mut sends: Vec<Outgoing<'_>> = sends.collect();
            reactor.send_together(&mut sends);
            let answers: Vec<_> = sends.into_iter().map(Outgoing::into_answer).collect();
            (offers, answers)
        })?;
        let (mut unfinished, mut removed) = (Vec::new(), Removed::new());
        for (offer, (offered, answer)) in offers.into_iter().zip(answers) {
            unfinished.extend(offer.settle(offered, answer, &mut removed));
        }
        drop(removed);
        let mut outcome = Ok(());
        for (transport, sent) in unfinished {
            outcome = outcome.and(Self::on_sent(transport, sent));
        }
        outcome
    }

    /// Not all was taken, or there are more blocks than are offered by one call.
    fn on_sent(this: &Bound<'_, Self>, sent: io::Result<()>) -> PyResult<()> {
        let py = this.py();
        let (is_lost, sending) =
            this.get().state.with(py, |state| (state.life.is_lost(), state.output.sending));
        match sent {
            // What was done about another transport ended this one.
            _ if is_lost => Ok(()),
            Ok(()) if sending == Sending::Collected => Self::send_queue(this).map(drop),
            sent => Self::on_offered(this, Sending::Collected, sent, sending).map(drop),
        }
    }
}

impl<'a, 'py> Offer<'a, 'py> {
    /// None if there is nothing to send, or no more: a transport may be there twice, when it was flushed and written to again in the turn.
    fn of(transport: &'a Bound<'py, TcpTransport>) -> Option<Self> {
        let (token, queue) = transport.get().state.with(transport.py(), |state| {
            let token = state.life.token.filter(|_| state.output.sending == Sending::Collected)?;
            state.output.sending = Sending::Idle;
            let is_empty = state.output.queue.is_empty();
            (!is_empty).then(|| (token, std::mem::take(&mut state.output.queue)))
        })?;
        Some(Self { transport, token, queue })
    }

    /// Gives the transport back what is left. Answers it with what the kernel said, unless nothing is left.
    fn settle(
        self,
        offered: usize,
        answer: io::Result<usize>,
        removed: &mut Removed<Block>,
    ) -> Option<(&'a Bound<'py, TcpTransport>, io::Result<()>)> {
        let Self { transport, queue, .. } = self;
        let (sent, is_through) = transport.get().state.with(transport.py(), |state| {
            let output = &mut state.output;
            // Nothing came to the queue of a transport meanwhile, and one without blocks has nothing to drop.
            output.queue = queue;
            output.sending = Sending::Collected;
            let sent = output.on_answer(offered, answer, removed).map(drop);
            let is_through = output.queue.is_empty();
            if is_through {
                output.sending = Sending::Idle;
            }
            (sent, is_through)
        });
        (!is_through).then_some((transport, sent))
    }
}

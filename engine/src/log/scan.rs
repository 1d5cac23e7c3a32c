//! Reading a segment frame by frame at opening, and telling a torn tail from damage: FORMAT.md section 1, Recovery.
//!
//! Changes nothing on disk. Invariant: a frame is shown to the visitor only if header and payload check; the place
//! where a stretch stops being readable is either the end (nothing later was written knowing it durable) or damage.

use bytes::Bytes;

use super::footer::{FooterBuilder, TAIL_BYTES, decode_tail};
use super::frame::{KIND_CLOSING, KIND_FOOTER, KIND_HEAD, frame_bytes};
use super::head::{HEAD_FRAME_BYTES, check_head};
use super::segment::{Bad, Expect, Window, frame_at, look_beyond, payload_at};
use super::{
    FrameHeader, FrameInfo, HeaderFault, LogKind, OWNER_KIND_MIN, OnDamage, OpenError, Position, Stretch,
};

/// What is asked of a scan.
#[derive(Clone, Copy)]
pub(super) struct ScanPlan {
    pub(super) log_id: u64,
    pub(super) kind: LogKind,
    pub(super) segment: u32,
    /// Whether a later segment exists, which was begun only after this one was durable.
    pub(super) has_later: bool,
    pub(super) on_damage: OnDamage,
}

/// What a scan found.
pub(super) struct Scanned {
    /// End of the last valid frame, or of the footer's tail.
    pub(super) end: u64,
    pub(super) sealed: bool,
    /// Bytes of head and footer.
    pub(super) overhead_bytes: u64,
    pub(super) footer: FooterBuilder,
    pub(super) run_max: u64,
    /// The highest offset of this segment below which a frame says that everything is durable.
    pub(super) durable_to: u64,
    /// The last frame was a closing frame or a footer.
    pub(super) clean: bool,
    /// Bytes after `end` that are not zero and were never durable.
    pub(super) torn: Option<Stretch>,
    pub(super) damaged: Vec<Stretch>,
}

impl Scanned {
    fn note_durable(&mut self, durable_to: Position, segment: u32) {
        if durable_to.segment() == segment {
            self.durable_to = self.durable_to.max(u64::from(durable_to.offset()));
        }
    }

    pub(super) fn has_damage_before_end(&self) -> bool {
        let before = |stretch: &Stretch| u64::from(stretch.position.offset()) < self.end;
        self.damaged.iter().any(before)
    }
}

enum Step {
    Next(u64),
    Stop,
}

/// Goes through a segment, showing owner frames to `visit`.
pub(super) fn scan_segment(
    window: &mut Window,
    plan: ScanPlan,
    visit: &mut dyn FnMut(FrameInfo),
) -> Result<Scanned, OpenError> {
    let mut found = Scanned {
        end: 0,
        sealed: false,
        overhead_bytes: HEAD_FRAME_BYTES,
        footer: FooterBuilder::new(),
        run_max: 0,
        durable_to: 0,
        clean: false,
        torn: None,
        damaged: Vec::new(),
    };
    let mut offset = 0;
    loop {
        let expect = Expect {
            log_id: plan.log_id,
            segment: plan.segment,
            run_min: found.run_max,
            verify_payload: true,
        };
        let step = match frame_at(window, expect, offset)? {
            Ok(header) => take_frame(window, plan, &header, &mut found, visit)?,
            Err(bad) => judge_bad(window, plan, bad, offset, &mut found)?,
        };
        match step {
            Step::Next(next) => offset = next,
            Step::Stop => return Ok(found),
        }
    }
}

fn take_frame(
    window: &mut Window,
    plan: ScanPlan,
    header: &FrameHeader,
    found: &mut Scanned,
    visit: &mut dyn FnMut(FrameInfo),
) -> Result<Step, OpenError> {
    let offset = u64::from(header.position.offset());
    let end = offset + frame_bytes(u64::from(header.payload_bytes));
    let durable_to = header.durable_to;
    let out_of_place = || Bad::Header(HeaderFault::Kind(header.kind));
    match header.kind {
        KIND_HEAD => {
            let payload = payload_at(window, header, header.payload_bytes)?.unwrap_or(&[]);
            if offset != 0 || !check_head(payload, plan.kind, plan.segment)? {
                return judge_bad(window, plan, out_of_place(), offset, found);
            }
        }
        _ if offset == 0 => return judge_bad(window, plan, out_of_place(), offset, found),
        KIND_FOOTER => {
            let tail = window.get(end, TAIL_BYTES)?.and_then(|tail| tail.first_chunk());
            let whole =
                tail.and_then(|tail| decode_tail(tail, plan.log_id)) == Some(header.position.offset());
            if !whole {
                return judge_bad(window, plan, out_of_place(), offset, found);
            }
            found.sealed = true;
            found.clean = true;
            found.end = end + TAIL_BYTES as u64;
            found.overhead_bytes += found.end - offset;
            found.run_max = header.run;
            found.note_durable(durable_to, plan.segment);
            return Ok(Step::Stop);
        }
        KIND_CLOSING => {}
        kind if kind >= OWNER_KIND_MIN => {
            let tag = payload_at(window, header, header.tag_bytes)?.unwrap_or(&[]);
            found
                .footer
                .push(header.position.offset(), header.payload_bytes, kind, tag);
            visit(FrameInfo {
                position: header.position,
                kind,
                payload_bytes: header.payload_bytes,
                tag: Bytes::copy_from_slice(tag),
            });
        }
        kind => {
            return Err(OpenError::UnknownFrameKind {
                segment: plan.segment,
                offset: header.position.offset(),
                kind,
            });
        }
    }
    found.clean = header.kind == KIND_CLOSING;
    found.end = end;
    found.run_max = header.run;
    found.note_durable(durable_to, plan.segment);
    Ok(Step::Next(end))
}

/// A place without a valid frame: the end, a torn tail, or damage.
fn judge_bad(
    window: &mut Window,
    plan: ScanPlan,
    bad: Bad,
    offset: u64,
    found: &mut Scanned,
) -> Result<Step, OpenError> {
    if let Bad::Header(HeaderFault::Version(got)) = bad {
        return Err(OpenError::Version {
            segment: plan.segment,
            got,
        });
    }
    let limit = window.limit();
    let place = u32::try_from(offset).unwrap_or(u32::MAX);
    let position = Position::new(plan.segment, place);
    let nothing_follows = bad == Bad::Header(HeaderFault::Zero) && !window.any_nonzero(offset)?;
    if nothing_follows && !plan.has_later {
        return Ok(Step::Stop);
    }
    let beyond = look_beyond(window, Some(plan.log_id), position, offset + 8)?;
    if !plan.has_later && !beyond.was_durable {
        found.torn = Some(Stretch {
            position,
            bytes: limit - offset,
        });
        if window.met_unreadable(offset) {
            // It may have been durable; nobody can tell any more.
            found.damaged.extend(found.torn);
        }
        return Ok(Step::Stop);
    }
    if plan.on_damage == OnDamage::Refuse {
        return Err(OpenError::Damaged {
            segment: plan.segment,
            offset: place,
        });
    }
    let next = beyond.next.unwrap_or(limit);
    found.damaged.push(Stretch {
        position,
        bytes: next.saturating_sub(offset),
    });
    if beyond.next.is_none() {
        found.end = limit;
        return Ok(Step::Stop);
    }
    Ok(Step::Next(next))
}

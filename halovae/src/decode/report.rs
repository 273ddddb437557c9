//! What a job did, as a report.

use halovae_engine::group::Way;

use super::job::{Done, Job};
use crate::report::{Ranks, Report, Seconds, Share, Shares};

impl Job<'_> {
    /// Reports what the processes did, whose shares are by rank; of a process alone it is `done.share`.
    pub fn report(&self, done: &Done, shares: Vec<Share>) -> Report {
        let Shares { pieces, ops, peak_bytes, sent } = Shares::new(shares);
        let planned = self.planned();
        let is_video = planned.plan.input().frames > 1;
        Report {
            backend: self.description(),
            threads: self.threads(),
            strategy: planned.plan.strategy().to_string(),
            streamed: is_video.then(|| self.is_streamed()),
            latent_frames_at_a_time: is_video.then(|| self.latent_frames_at_a_time()),
            ranks: Ranks { requested: planned.requested, effective: planned.ranks },
            pieces,
            seconds: Seconds {
                load: None,
                decode: done.report.seconds,
                tuning: done.tuning.as_secs_f64(),
                stitch: done.report.stitch.stitch.as_secs_f64(),
                write: done.report.stitch.write.as_secs_f64(),
                total: None,
            },
            peak_bytes,
            exchange: done.report.way.as_ref().map(|way| match way {
                Way::Devices(name) => name.clone(),
                Way::Host(_) => "host".into(),
            }),
            sent,
            ops,
        }
    }
}

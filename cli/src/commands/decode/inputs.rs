//! What a decode is made from, checked before anything is decoded.

use std::path::{Path, PathBuf};

use halovae::Shape;
use halovae_media::{
    Depth, Options, OutputError, OutputFile, Written, check_all, check_place, check_scratch,
};

use crate::args::{BitDepthArg, DecodeArgs, Destination};
use crate::error::Error;
use crate::terminal;

/// What can be known to fail about the files that will be written, before anything is read.
pub(super) fn check_outputs(args: &DecodeArgs) -> Result<OutputFile, Error> {
    let mut options = Options::default();
    options.bit_depth = match args.bit_depth {
        BitDepthArg::Eight => Depth::Eight,
        BitDepthArg::Sixteen => Depth::Sixteen,
    };
    options.fps = args.fps;
    options.codec = args.codec.clone();
    options.crf = args.crf;
    options.pad = args.pad;
    options.animated = args.animated;
    options.preview = args.preview;
    if args.output.file().is_none() && terminal::is_terminal() {
        return Err(OutputError::Terminal.into());
    }
    let output = OutputFile::check(args.output.file(), options)?;
    if output.is_stdout() && args.report == Some(Destination::Stdout) {
        return Err(Error::Usage(
            "--output - and --report - both write to standard output; name a file for the report"
                .into(),
        ));
    }
    report_file(args).map(check_place).transpose()?;
    Ok(output)
}

fn report_file(args: &DecodeArgs) -> Option<&Path> {
    args.report.as_ref().and_then(Destination::file)
}

/// The same for the folder of a scratch file, which every process has.
pub(super) fn check_scratch_dir(args: &DecodeArgs) -> Result<(), Error> {
    Ok(args.scratch_dir.as_deref().map_or(Ok(()), check_scratch)?)
}

/// What else can be known to fail about them, once it is known what they will hold and what is read.
pub(super) fn check_written(
    args: &DecodeArgs,
    output: &OutputFile,
    sources: &[PathBuf],
    result: Shape,
) -> Result<(), Error> {
    let files = output.files(result)?.into_iter();
    let mut written: Vec<_> = files.map(|path| Written::new("output", path)).collect();
    let previews = output.previews(result)?.into_iter();
    written.extend(previews.map(|path| Written::new("preview", path)));
    written.extend(report_file(args).map(|path| Written::new("report", path)));
    let mut read = sources.to_vec();
    read.push(args.latents.clone());
    Ok(check_all(&written, &read)?)
}

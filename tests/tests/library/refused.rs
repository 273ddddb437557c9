//! What cannot be is an error of one type, whose message names options as the caller gives them.

use std::error::Error as _;

use halovae::plan::latent_frames;
use halovae::{
    BackendChoice, Chain, CutOptions, DecodeOptions, Dtype, Error, Exchange, LatentsOptions,
    OpenOptions, OptionError, Planner, Shape, Strategy, TileOptions, Vae,
};
use halovae_core::{Axes, Size, TimeScale};

use super::{demo, golden, one_thread};

type Change<'a> = &'a dyn Fn(&mut DecodeOptions);

/// Both forms of the message.
fn told(error: &Error) -> [String; 2] {
    [Chain(error).to_string(), format!("{:#}", Chain(error))]
}

#[test]
fn options_that_do_not_go_together_are_typed_and_named() {
    let (vae, latents) = golden("f8-flux");
    let refused = |change: Change<'_>| {
        let mut options = one_thread();
        change(&mut options);
        vae.decode(&latents, &options).unwrap_err()
    };
    let cases: [(Change<'_>, [&str; 2]); 7] = [
        (
            &|options| options.max_memory = Some(1 << 30),
            ["max_memory needs strategy sharded", "--max-memory needs --strategy sharded"],
        ),
        (
            &|options| options.cut.shard_grid = Some(Axes::new(1, 2, 2)),
            ["shard_grid needs strategy sharded", "--shard-grid needs --strategy sharded"],
        ),
        (
            &|options| options.devices.dtype = Dtype::F16,
            ["dtype f16 needs a GPU", "--dtype f16 needs a GPU"],
        ),
        (
            &|options| {
                options.cut = CutOptions::of(Strategy::Sharded, 1);
                options.devices.exchange = Exchange::Nccl;
            },
            ["exchange nccl needs backend cuda", "--exchange nccl needs --backend cuda"],
        ),
        (
            &|options| {
                options.devices.backend = BackendChoice::Wgpu;
                options.devices.dtype = Dtype::Bf16;
            },
            ["dtype bf16 needs backend cuda", "--dtype bf16 needs --backend cuda"],
        ),
        (
            &|options| options.cut.tiles.tile_sample_min_frames = Some(16),
            ["tile_sample_min_frames tiles the frames", "--tile-sample-min-frames tiles the"],
        ),
        (
            &|options| options.cut.tiles.tile_sample_min_size = Some([64, 3]),
            ["tile_sample_min_size 64x3 is less", "--tile-sample-min-size 64x3 is less"],
        ),
    ];
    for (change, expected) in cases {
        let error = refused(change);
        assert!(error.is_of_options(), "{error:?}");
        for (told, expected) in told(&error).iter().zip(expected) {
            assert!(told.contains(expected), "{told}");
        }
    }
    let none = refused(&|options| options.cut.vae_patch_parallel_size = Some(0));
    assert!(matches!(none, Error::Plan(_)), "{none:?}");
    let none = vae.decoder(&one_thread().ranks(0)).unwrap_err();
    assert!(matches!(none, Error::Plan(_)), "{none:?}");
}

#[test]
fn files_that_cannot_be_read_name_themselves() {
    let none = Vae::open("no/such/vae").unwrap_err();
    assert!(matches!(none, Error::Checkpoint(_)) && told(&none)[0].contains("no/such/vae"));
    let mut options = OpenOptions::default();
    options.variant = Some("fp17".into());
    let variant = Vae::open_with(demo().join("vae"), &options).unwrap_err();
    assert!(told(&variant)[0].contains("variant NAME"), "{variant}");
    assert!(told(&variant)[1].contains("--variant NAME"), "{variant}");
    let vae = Vae::open(demo().join("vae")).unwrap();
    let missing = vae.read_latents("no/such.npy", &LatentsOptions::default()).unwrap_err();
    assert!(matches!(missing, Error::Latents(_)) && told(&missing)[0].contains("no/such.npy"));
    // A message says nothing twice.
    let [line, _] = told(&missing);
    assert_eq!(line.matches("no/such.npy").count(), 1, "{line}");
    assert!(missing.source().is_none_or(|source| !source.to_string().is_empty()));
}

#[test]
fn plans_of_nothing_are_refused() {
    let tiles = TileOptions::default();
    let planner = Planner::open(demo().join("vae"), &OpenOptions::default(), tiles).unwrap();
    let cut = CutOptions::of(Strategy::Whole, 1);
    for size in [Size::new(0, 8), Size::new(8, 0), Size::video(0, 8, 8)] {
        let refused = planner.plan(size, &cut, 1).unwrap_err();
        assert!(refused.is_of_plan(), "{refused:?}");
    }
    let endless = planner.plan(Size::video(1 << 20, 8, 8), &cut, 1).unwrap_err();
    assert!(matches!(endless, Error::Option(OptionError::Frames { .. })), "{endless:?}");
    let unsized_tiles = Planner::of_scale(8, tiles).err().expect("tiles have no size");
    assert!(told(&unsized_tiles)[0].contains("tile_sample_min_size"), "{unsized_tiles}");
    let frames = latent_frames("frames", 6, TimeScale::first_alone(4)).unwrap_err();
    assert!(told(&frames)[1].starts_with("--frames 6") && told(&frames)[1].ends_with("5 or 9"));
}

/// No latents at all, or more than can be counted, are errors and no panics.
#[test]
fn latents_that_cannot_be_are_refused() {
    let (vae, _) = golden("f8-flux");
    let channels = vae.program().latent_channels() as usize;
    for shape in [
        Shape::new(0, 4, 4, channels),
        Shape::new(1, 0, 4, channels),
        Shape::new(1, 4, 4, channels).over(0),
        Shape::new(1, 4, 4, channels).over(2),
        Shape::new(1, 1 << 40, 4, channels),
    ] {
        let planned = vae.plan(shape, &one_thread(), None);
        // What can be planned is refused by the decode.
        if let (Ok(_), Some(0..1_000_000)) = (&planned, shape.elements()) {
            let latents = halovae::HostTensor::zeros(shape).unwrap();
            let refused = vae.decode(&latents, &one_thread()).unwrap_err();
            assert!(!told(&refused)[0].is_empty());
        } else {
            assert!(planned.is_err(), "{shape:?}");
        }
    }
}

//! The core's values as data: what is written is read as the same, and a plan is made again from it.

use halovae_core::{
    AxisTiling, Direction, DroppedFrame, Notice, Plan, Region, Request, Scale, Size, Strategy,
    TileGrid, Tiling, TimeScale, TimeTiling,
};
use proptest::prelude::{Just, ProptestConfig, prop, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use serde_json::{from_str, json, to_string, to_value};

fn axis() -> impl Generator<Value = AxisTiling> {
    prop_oneof![
        Just(AxisTiling::Whole),
        (1u32..64, 0u32..116).prop_map(|(cells, overlap)| AxisTiling::Overlap {
            tile_sample_min_size: 8 * cells,
            tile_latent_min_size: cells,
            // A fraction that a decimal number is exactly.
            tile_overlap_factor: f64::from(overlap) / 128.0,
        }),
        (1u32..64, 1u32..64).prop_map(|(tile, stride)| AxisTiling::Stride {
            tile_sample_min_size: 8 * tile,
            tile_sample_stride: 8 * stride.min(tile),
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_plan_is_made_again_from_what_was_written(
        height in axis(),
        width in axis(),
        latents in (1u32..9, 1u32..60, 1u32..60),
        frames in prop::option::of((1u32..5, 1u32..5)),
    ) {
        let scale = Scale::video(TimeScale::first_alone(4), 8);
        let mut tiling = Tiling::new(height, width, scale);
        if let Some((tile, stride)) = frames {
            tiling = tiling.with_time(TimeTiling {
                tile_sample_min_num_frames: 4 * tile,
                tile_sample_stride_num_frames: 4 * stride.min(tile),
                dropped: DroppedFrame::First,
            });
        }
        let latents = Size::video(latents.0, latents.1, latents.2);
        let read: Tiling = from_str(&to_string(&tiling).unwrap()).unwrap();
        prop_assert_eq!(read, tiling);
        let plan = |tiling| {
            let grid = TileGrid::new(Direction::Decode, latents, tiling);
            grid.map(Plan::tiled)
        };
        prop_assert_eq!(plan(&read), plan(&tiling));
        if let Ok(plan) = plan(&tiling) {
            for piece in plan.pieces().take(8) {
                let read: Region = from_str(&to_string(&piece.input).unwrap()).unwrap();
                prop_assert_eq!(read, piece.input);
            }
        }
    }
}

/// Names are those of the options, so that other programs can write them.
#[test]
fn names_are_those_of_options() {
    assert_eq!(to_value(Strategy::Sharded).unwrap(), json!("sharded"));
    let size = json!({"frames": 2, "height": 3, "width": 4});
    assert_eq!(to_value(Size::video(2, 3, 4)).unwrap(), size);
    let notice = Notice::SizeClamped { requested: 8, group: 4 };
    let written = json!({"size_clamped": {"requested": 8, "group": 4}});
    assert_eq!(to_value(notice).unwrap(), written);
    let request: Request = from_str(
        r#"{"vae_patch_parallel_size": 4, "group_size": 8, "use_tiling": false,
            "parallel_supported": true}"#,
    )
    .unwrap();
    assert_eq!(request.resolve().unwrap().ranks, 4);
    assert!(from_str::<Size>(r#"{"frames": 1, "height": -3, "width": 4}"#).is_err());
}

//! The suite on the reference itself and on the wrappers: what they promise to pass on, they do.

mod reference {
    use halovae_engine::conformance::Reference;

    halovae_engine::backend_conformance!(Reference);
}

mod traced {
    use halovae_engine::conformance::Reference;
    use halovae_engine::wrap::Traced;

    halovae_engine::backend_conformance!(
        Traced::new(Reference, true).expect("nothing to ask a device for")
    );
}

mod faulty {
    use halovae_engine::conformance::Reference;
    use halovae_engine::wrap::Faulty;

    halovae_engine::backend_conformance!(Faulty::new(Reference, None));
}

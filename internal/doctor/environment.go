package doctor

import (
	"context"
	"errors"

	"berth/internal/config"
)

// environment reports faults of the settings, and settings that weaken security.
func environment(_ context.Context, o *Options) []Finding {
	const advice = "correct the setting; berth config docs describes it"
	var findings []Finding
	if faults, ok := errors.AsType[*config.FaultsError](o.ConfigErr); ok {
		for _, f := range faults.Faults {
			findings = append(findings, fail("setting-faulty", advice, "%s", f))
		}
	} else if o.ConfigErr != nil {
		findings = append(findings, fail("setting-faulty", advice, "%v", o.ConfigErr))
	}
	for _, w := range o.Config.Warnings() {
		findings = append(findings, warn("setting-weak", advice, "%s", w))
	}
	return orPass(findings, pass("settings-usable", "the settings are usable, and weaken nothing"))
}

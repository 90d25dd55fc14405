package doctor

import (
	"context"
	"errors"

	"berth/internal/config"
)

// environment reports what is wrong with the settings, and what weakens something.
type environment struct{ Options }

func (environment) Name() string { return "environment" }

func (c environment) Run(context.Context) []Finding {
	const advice = "correct the setting; berth config docs describes it"
	var findings []Finding
	if faults, ok := errors.AsType[*config.FaultsError](c.ConfigErr); ok {
		for _, f := range faults.Faults {
			findings = append(findings, fail("setting-faulty", advice, "%s", f))
		}
	} else if c.ConfigErr != nil {
		findings = append(findings, fail("setting-faulty", advice, "%v", c.ConfigErr))
	}
	for _, w := range c.Config.Warnings() {
		findings = append(findings, warn("setting-weak", advice, "%s", w))
	}
	return orPass(findings, pass("settings-usable", "the settings are usable, and weaken nothing"))
}

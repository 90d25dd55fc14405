package session

import (
	"time"
)

// ImageSource is the source of a session's image.
type ImageSource string

// The sources. A session of an earlier version, which did not record it, has none, and keeps its image until it is upgraded.
const (
	ImageFromProfile ImageSource = "profile" // follows the profile's present image
	ImageChosen      ImageSource = "chosen"  // chosen by a create or an upgrade, or set by a revert
)

// Upgrade is an upgrade that is in progress or that can be reverted.
type Upgrade struct {
	Step UpgradeStep `json:"step"`
	At   time.Time   `json:"at"` // when it began, which is also the time of the copy of the state

	Image       string      `json:"image"` // the new image
	ImageSource ImageSource `json:"image_source"`
	Previous    string      `json:"previous"` // image before

	WasStopped bool   `json:"asleep,omitempty"` // the session was stopped before, and is stopped afterwards
	Empty      bool   `json:"empty,omitempty"`  // there was no state to copy
	Failed     string `json:"failed,omitempty"` // why it is being reverted automatically; empty: it is not

	Earlier *Upgrade `json:"earlier,omitempty"` // the previous upgrade, which can be reverted until its copy is replaced
}

// Clone returns a copy that shares nothing with u.
func (u *Upgrade) Clone() *Upgrade {
	if u == nil {
		return nil
	}
	copied := *u
	copied.Earlier = u.Earlier.Clone()
	return &copied
}

// UpgradeStep is the next step of an upgrade, with which a process that takes it over continues. Each step can be repeated.
type UpgradeStep string

// The steps.
const (
	StepCopy   UpgradeStep = "copy"   // the state is being copied; container and state are as before
	StepSwitch UpgradeStep = "switch" // the copy is complete, and the next container is one of the new image
	StepRevert UpgradeStep = "revert" // the state is being replaced by the copy; no server may run before the end
	StepReturn UpgradeStep = "return" // image and state are as before; the server is being started again
)

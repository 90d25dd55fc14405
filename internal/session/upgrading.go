package session

import (
	"time"
)

// ImageSource says who chose a session's image.
type ImageSource string

// The sources. A session of a Berth that did not record it has none, and keeps its image until it is upgraded.
const (
	ImageFromProfile ImageSource = "profile" // nobody: it is its profile's image of the day
	ImageChosen      ImageSource = "chosen"  // who created or upgraded the session; or an upgrade was taken back
)

// Upgrade is a move to another image that goes on or that can be taken back.
type Upgrade struct {
	Step UpgradeStep `json:"step"`
	At   time.Time   `json:"at"` // when it began, which is the time of the copy of the state

	Image       string      `json:"image"` // that is moved to
	ImageSource ImageSource `json:"image_source"`
	Previous    string      `json:"previous"` // image before

	WasStopped bool   `json:"asleep,omitempty"` // it did not run before, and is not to run afterwards
	Empty      bool   `json:"empty,omitempty"`  // there was no state to copy
	Failed     string `json:"failed,omitempty"` // why it is being taken back; empty: it is not, or somebody asked for it

	Earlier *Upgrade `json:"earlier,omitempty"` // that can still be taken back, as long as its copy has not been replaced
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

// UpgradeStep is what an upgrade does next, so that a process that takes it over goes on from there. Each may be repeated.
type UpgradeStep string

// The steps.
const (
	StepCopy   UpgradeStep = "copy"   // the state is being copied; container and state are as before
	StepSwitch UpgradeStep = "switch" // the copy is complete, and the next container is one of the new image
	StepRevert UpgradeStep = "revert" // the state is being replaced by the copy; no server may run before that is done
	StepReturn UpgradeStep = "return" // image and state are as before; the server is to run again
)

package dockerd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"berth/internal/atomicfile"
)

const journalVersion = 1

// The states of a journal.
const (
	applying = "applying" // no set-up has been completed yet
	applied  = "applied"
	undoing  = "undoing" // only undo may go on from here
)

// journal records on disk what a set-up has changed and the state before. It is written before each change, so that an
// interrupted set-up can be completed or undone.
type journal struct {
	Version int      `json:"version"`
	State   string   `json:"state"`
	layer            // of all completed set-ups: the state before the first
	Written []string `json:"written,omitempty"` // SHA-256 of every daemon.json that a set-up wrote
	Run     *run     `json:"run,omitempty"`     // the set-up that is under way
}

// layer is what has been changed, and how it was before.
type layer struct {
	Endpoint string   `json:"endpoint,omitempty"` // where the engine answered; empty when it did not run
	Files    []record `json:"files,omitempty"`
	Rules    []Rule   `json:"rules,omitempty"`    // firewall rules that were not there
	Isolated bool     `json:"isolated,omitempty"` // the chains that close this machine to sessions were not there
}

// run is one set-up while it is under way.
type run struct {
	Started time.Time `json:"started"`
	layer
	Restarting bool `json:"restarting,omitempty"` // the engine may have read the new configuration
}

// loadJournal reads the journal; nil when there is none.
func loadJournal(path string) (*journal, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // what every machine begins with
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal of earlier set-ups: %w", err)
	}
	var j journal
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		return nil, fmt.Errorf("read the journal of earlier set-ups %s: %w", path, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) || j.Version != journalVersion {
		return nil, fmt.Errorf("the journal of earlier set-ups %s is not one of this version of Berth", path)
	}
	return &j, nil
}

func (j *journal) save(path string) error {
	data, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	if err := atomicfile.Write(path, append(data, '\n'), 0o600, ""); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// first is how everything was before the first set-up, the one under way included; each path once.
func (j *journal) first() layer {
	if j.Run == nil {
		return j.layer
	}
	all := j.layer
	all.Files = slices.Clone(j.Files)
	for _, r := range j.Run.Files {
		if !holds(all.Files, r.Path) {
			all.Files = append(all.Files, r)
		}
	}
	all.Rules = append(slices.Clone(j.Rules), j.Run.Rules...)
	all.Isolated = j.Isolated || j.Run.Isolated
	return all
}

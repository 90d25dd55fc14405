package dockerd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"berth/internal/fileset"
)

const journalVersion = 1

// The states of a journal.
const (
	applying = "applying" // no set-up has been completed yet
	applied  = "applied"
	undoing  = "undoing" // only undo may go on from here
)

// journal is on disk what a set-up has changed and how things were before. It is written ahead of each change, so that a
// crash at any moment can be completed or taken back.
type journal struct {
	Version int      `json:"version"`
	State   string   `json:"state"`
	layer            // of all set-ups that were completed: how things were before the first
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

// record is one file or directory as it was.
type record struct {
	Path   string      `json:"path"`
	Absent bool        `json:"absent,omitempty"`
	Dir    bool        `json:"dir,omitempty"`
	Mode   fs.FileMode `json:"mode,omitempty"`
	UID    int         `json:"uid"`
	GID    int         `json:"gid"`
	SHA256 string      `json:"sha256,omitempty"` // of a file's content, hexadecimal
	Backup string      `json:"backup,omitempty"` // where that content is kept
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
	if err := fileset.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// holds tells whether a path is among the records.
func holds(records []record, path string) bool {
	return slices.ContainsFunc(records, func(r record) bool { return r.Path == path })
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

// look records how a path is now. Links and other things that are neither files nor directories are refused: replacing
// them would change something else than what the path names.
func look(path string) (record, []byte, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{Path: path, Absent: true}, nil, nil
	}
	if err != nil {
		return record{}, nil, err
	}
	uid, gid := ownerOf(info)
	r := record{Path: path, Dir: info.IsDir(), Mode: info.Mode() & (fs.ModePerm | fs.ModeSetgid | fs.ModeSticky), UID: uid, GID: gid}
	switch {
	case info.IsDir():
		return r, nil, nil
	case !info.Mode().IsRegular():
		return record{}, nil, refuse("put the file itself there", "%s is a link or a special file, which a set-up does not replace", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return record{}, nil, err
	}
	r.SHA256 = digest(data)
	return r, data, nil
}

// ownerOf is the user and the group that own a file.
func ownerOf(info fs.FileInfo) (uid, gid int) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid), int(stat.Gid)
	}
	return 0, 0
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// putBack makes a path what its record says.
func (r record) putBack() error {
	switch {
	case r.Absent:
		err := os.Remove(r.Path)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if entries, readErr := os.ReadDir(r.Path); readErr == nil && len(entries) > 0 {
			return nil // a directory of ours in which others have put something
		}
		return err
	case r.Dir:
		return os.Chmod(r.Path, r.Mode)
	}
	if now, _, err := look(r.Path); err == nil && now == r.without() {
		return nil
	}
	data, err := os.ReadFile(r.Backup)
	if err != nil {
		return err
	}
	if digest(data) != r.SHA256 {
		return fmt.Errorf("the backup %s is not what was saved", r.Backup)
	}
	if err := fileset.WriteFile(r.Path, data, r.Mode); err != nil {
		return err
	}
	return os.Chown(r.Path, r.UID, r.GID)
}

// without is the record as look makes it.
func (r record) without() record {
	r.Backup = ""
	return r
}

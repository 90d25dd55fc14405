package pki

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// InitOptions says what Init shall make. The zero value makes a set for a development machine.
type InitOptions struct {
	Environment Environment
	Hosts       []string // names and addresses of the server; Production needs at least one
	Days        int      // life of every certificate; zero means DefaultCADays for the authority and DefaultLeafDays for the rest
	KeyType     KeyType
	ClientName  string           // common name of the client; empty means "berth"
	Force       bool             // replace whatever stands there, the authority included
	Now         func() time.Time // nil means time.Now
}

// Validate finds what is wrong with the options themselves, whatever is on disk. Init does the same.
func (o InitOptions) Validate() error {
	if o.Days < 0 || o.Days > maxDays {
		return fmt.Errorf("a life of %d days is outside 1 to %d", o.Days, maxDays)
	}
	if o.KeyType != "" && o.KeyType != ECDSA && o.KeyType != Ed25519 {
		return errKeyType(o.KeyType)
	}
	_, _, err := serverNames(o.Hosts, o.Environment)
	return err
}

// Outcome says what Init found and did.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"   // a new set was written where none was
	Replaced  Outcome = "replaced"  // a new set took the place of what was there
	Completed Outcome = "completed" // the set of an interrupted earlier run was put in place
	Unchanged Outcome = "unchanged" // a complete and valid set was there
)

// InitResult is what Init did, and the certificates that stand in the directory now.
type InitResult struct {
	Outcome      Outcome       `json:"outcome"`
	Dir          string        `json:"dir"`
	Certificates []Description `json:"certificates"`
	Warnings     []Warning     `json:"warnings,omitempty"`
}

// Init makes sure that dir holds a certificate authority, a server certificate and a client certificate with their keys.
//
// A complete and valid set that covers the requested hosts stays as it is. Anything else that is there is an error
// (a FileError with what to do) unless Force is set. A run that was interrupted is completed by the next one, with or
// without Force: see install for how.
func Init(dir string, opts InitOptions) (InitResult, error) {
	return newInitializer(dir, opts).run()
}

type initializer struct {
	dir  string
	opts InitOptions
	now  time.Time
	// before is called ahead of every change on disk; an error ends the run there, as a crash would.
	before func(step string) error
}

func newInitializer(dir string, opts InitOptions) *initializer {
	now := time.Now
	if opts.Now != nil {
		now = opts.Now
	}
	return &initializer{dir: dir, opts: opts, now: now(), before: func(string) error { return nil }}
}

func (i *initializer) run() (InitResult, error) {
	if err := i.opts.Validate(); err != nil {
		return InitResult{}, err
	}
	dns, ips, err := serverNames(i.opts.Hosts, i.opts.Environment)
	if err != nil {
		return InitResult{}, err
	}
	if err := i.makeDir(); err != nil {
		return InitResult{}, err
	}
	unlock, err := lockDir(i.dir)
	if err != nil {
		return InitResult{}, err
	}
	defer unlock()

	outcome := Unchanged
	completed, err := i.recover()
	if err != nil {
		return InitResult{}, err
	}
	if completed {
		outcome = Completed
	}
	present, missing := i.inventory()
	if len(present) == 0 || i.opts.Force {
		outcome = Created
		if len(present) > 0 {
			outcome = Replaced
		}
		set, err := i.makeSet(Request{DNSNames: dns, IPs: ips, KeyType: i.opts.KeyType, Now: i.now})
		if err != nil {
			return InitResult{}, err
		}
		if err := i.stage(set); err != nil {
			return InitResult{}, err
		}
		if err := i.install(); err != nil {
			return InitResult{}, err
		}
	} else if len(missing) > 0 {
		err := fmt.Errorf("%w: %s missing beside %s", ErrIncomplete, strings.Join(missing, ", "), strings.Join(present, ", "))
		return InitResult{}, &FileError{Path: i.dir, Err: err, Advice: "put the missing files back, or " + adviceForce}
	}
	return i.verify(outcome, serverHosts{dns, ips})
}

// makeDir makes the directory for its owner alone, and its parents in the usual way.
func (i *initializer) makeDir() error {
	if exists(i.dir) {
		return nil
	}
	if err := i.before("make directory"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(i.dir)), 0o755); err != nil {
		return fmt.Errorf("make certificate directory: %w", err)
	}
	if err := os.Mkdir(i.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make certificate directory: %w", err)
	}
	return nil
}

// inventory tells which files of a set are there. The authority's key may be kept elsewhere, so it is never missing, and
// alone it does not make a set.
func (i *initializer) inventory() (present, missing []string) {
	for _, name := range fileOrder() {
		switch {
		case exists(filepath.Join(i.dir, name)):
			present = append(present, name)
		case name != CAKeyFile:
			missing = append(missing, name)
		}
	}
	return present, missing
}

// makeSet makes the contents of all six files.
func (i *initializer) makeSet(req Request) (map[string][]byte, error) {
	leafDays := cmp.Or(i.opts.Days, DefaultLeafDays)
	ca := req
	// Two authorities in one file, or in one log, can be told apart by their date.
	ca.CommonName = "Berth CA " + i.now.UTC().Format(time.DateOnly)
	ca.Days = cmp.Or(i.opts.Days, DefaultCADays)
	authority, err := NewAuthority(ca)
	if err != nil {
		return nil, err
	}
	server := req
	server.Days = leafDays
	if len(req.DNSNames) > 0 {
		server.CommonName = req.DNSNames[0]
	} else {
		server.CommonName = req.IPs[0].String()
	}
	serverPair, err := authority.IssueServer(server)
	if err != nil {
		return nil, err
	}
	client := Request{CommonName: cmp.Or(i.opts.ClientName, "berth"), KeyType: req.KeyType, Now: req.Now, Days: leafDays}
	clientPair, err := authority.IssueClient(client)
	if err != nil {
		return nil, err
	}
	set := make(map[string][]byte, 6)
	for _, part := range []struct {
		pair      Pair
		cert, key string
	}{
		{authority.Pair, CACertFile, CAKeyFile},
		{serverPair, ServerCertFile, ServerKeyFile},
		{clientPair, ClientCertFile, ClientKeyFile},
	} {
		set[part.cert] = part.pair.CertPEM()
		if set[part.key], err = part.pair.KeyPEM(); err != nil {
			return nil, err
		}
	}
	return set, nil
}

package pki

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"berth/internal/fileset"
	"berth/internal/pin"
)

// InitOptions says what Init shall make. The zero value makes a set for a development machine.
type InitOptions struct {
	Environment Environment
	Hosts       []string // names and addresses of the server; a new set of Production needs at least one
	Days        int      // life of every certificate; zero means DefaultCADays for the authority and DefaultLeafDays for the rest
	KeyType     KeyType
	ClientName  string           // common name of the client; empty means "berth"
	Force       bool             // replace whatever stands there, the authority included
	Now         func() time.Time // nil means time.Now

	// ForgetRevocations begins an empty revocation list where it is lost and no records tell what was on it: whatever was
	// revoked is admitted again.
	ForgetRevocations bool
}

// Validate finds what is wrong with the options themselves, whatever is on disk. Init does the same.
func (o InitOptions) Validate() error {
	if o.Days < 0 || o.Days > maxDays {
		return fmt.Errorf("a life of %d days is outside 1 to %d", o.Days, maxDays)
	}
	if o.KeyType != "" && o.KeyType != ECDSA && o.KeyType != Ed25519 {
		return errKeyType(o.KeyType)
	}
	if _, _, err := serverNames(o.Hosts, o.Environment); !errors.Is(err, ErrNoHosts) {
		return err
	}
	return nil // a set that is there needs none
}

// Outcome says what Init found and did.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"   // a new set was written where none was
	Replaced  Outcome = "replaced"  // a new set took the place of what was there
	Completed Outcome = "completed" // an interrupted earlier run was completed, or a missing revocation list was made anew
	Unchanged Outcome = "unchanged" // a complete and valid set was there
)

// InitResult is what Init did, and the certificates that stand in the directory now.
type InitResult struct {
	Outcome      Outcome       `json:"outcome"`
	Dir          string        `json:"dir"`
	List         string        `json:"list_made_anew,omitempty"` // file of the revocation list, if it was lost or older and was made anew
	Revoked      int           `json:"revoked,omitempty"`        // how many certificates that list refuses
	Certificates []Description `json:"certificates"`
	Warnings     []Warning     `json:"warnings,omitempty"`
}

// Init makes sure that dir holds a certificate authority, a server certificate and a client certificate with their keys.
//
// A complete and valid set that covers the requested hosts stays as it is; without any, whatever hosts it was made for. A
// revocation list that was lost is made anew. Anything else that is there is an error (a FileError with what to do) unless
// Force is set. A run that was interrupted is completed by the next one, with or without Force.
func Init(dir string, opts InitOptions) (InitResult, error) {
	return newInitializer(dir, opts).run()
}

type initializer struct {
	dir    string
	opts   InitOptions
	now    time.Time
	before hook
}

func newInitializer(dir string, opts InitOptions) *initializer {
	return &initializer{dir: dir, opts: opts, now: clockOf(opts.Now), before: noHook}
}

func (i *initializer) run() (InitResult, error) {
	if err := i.opts.Validate(); err != nil {
		return InitResult{}, err
	}
	dns, ips, hostsErr := serverNames(i.opts.Hosts, i.opts.Environment)
	if hostsErr != nil && !exists(i.dir) {
		return InitResult{}, hostsErr
	}
	if err := makeDir(i.dir, i.before); err != nil {
		return InitResult{}, err
	}
	var result InitResult
	err := edit(i.dir, i.before, func(d *directory) error {
		outcome, revoked, err := i.make(d, Request{DNSNames: dns, IPs: ips, KeyType: i.opts.KeyType, Now: i.now}, hostsErr)
		if err != nil {
			return err
		}
		if result, err = i.verify(outcome); err != nil {
			return err
		}
		if revoked != nil {
			result.List, result.Revoked = d.file(CRLFile), *revoked
		}
		if i.opts.Days > longLife && (outcome == Created || outcome == Replaced) {
			for _, name := range []string{ServerCertFile, ClientCertFile} {
				result.Warnings = append(result.Warnings, longLifeWarning(d.file(name), i.opts.Days))
			}
		}
		return nil
	})
	return result, err
}

// make writes a new set if there is none or the old one shall go, which fails with hostsErr. Of a set that is there it makes
// a lost revocation list anew, and answers how many it refuses.
func (i *initializer) make(d *directory, req Request, hostsErr error) (Outcome, *int, error) {
	present, missing := i.inventory()
	switch {
	case (len(present) == 0 || i.opts.Force) && hostsErr != nil:
		return "", nil, hostsErr
	case len(present) == 0 || i.opts.Force:
		set, err := i.makeSet(req)
		if err != nil {
			return "", nil, err
		}
		// What was said of an authority means nothing for the next one.
		about := []string{nextCAKey, oldCAKey, recordsFile, CRLFile, rotationFile}
		if err := d.apply(fileset.Change{Write: set, Remove: about}); err != nil {
			return "", nil, err
		}
		if len(present) > 0 {
			return Replaced, nil, nil
		}
		return Created, nil, nil
	case len(missing) > 0:
		err := fmt.Errorf("%w: %s missing beside %s", ErrIncomplete, strings.Join(missing, ", "), strings.Join(present, ", "))
		return "", nil, &FileError{Path: i.dir, Err: err, Advice: "put the missing files back, or " + adviceForce}
	}
	server, _, err := loadFiles(ServerPaths(i.dir), x509.ExtKeyUsageServerAuth, i.now)
	if err != nil {
		return "", nil, err
	}
	// Before anything is written: a refusal leaves everything as it was.
	if err := i.covers(server.pair.Leaf); err != nil {
		return "", nil, err
	}
	restored, err := d.restoreLists(i.now, i.opts.ForgetRevocations)
	switch {
	case err != nil:
		return "", nil, err
	case d.completed, restored != nil:
		return Completed, restored, nil
	default:
		return Unchanged, nil, nil
	}
}

// covers holds a server's certificate to the hosts that were asked for, and to none that were not.
func (i *initializer) covers(cert *x509.Certificate) error {
	if len(i.opts.Hosts) == 0 {
		return nil
	}
	dns, ips, err := serverNames(i.opts.Hosts, Production)
	if err != nil {
		return err
	}
	if err := checkHosts(cert, dns, ips); err != nil {
		return &FileError{Path: filepath.Join(i.dir, ServerCertFile), Err: err, Advice: adviceHosts}
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

// makeSet makes the contents of all files: six of certificates, an empty revocation list, and the records.
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
	server.CommonName = serverCommonName(req.DNSNames, req.IPs)
	serverPair, err := authority.IssueServer(server)
	if err != nil {
		return nil, err
	}
	client := Request{CommonName: cmp.Or(i.opts.ClientName, "berth"), KeyType: req.KeyType, Now: req.Now, Days: leafDays}
	clientPair, err := authority.IssueClient(client)
	if err != nil {
		return nil, err
	}
	set := make(map[string][]byte, 8)
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
	list, err := authority.Revoked(nil, nil, i.now)
	if err != nil {
		return nil, err
	}
	known := records{Certificates: []record{}}
	known.noteList(authority.Certificate, list)
	if set[recordsFile], err = known.encode(i.now); err != nil {
		return nil, err
	}
	set[CRLFile] = revocations{pin.Of(authority.Certificate): list}.encode([]*x509.Certificate{authority.Certificate})
	return set, nil
}

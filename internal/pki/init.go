package pki

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"berth/internal/fileset"
)

// InitOptions are the options of Init. The zero value makes a set for a development machine.
type InitOptions struct {
	Environment Environment
	Hosts       []string // names and addresses of the server; a new set of Production needs at least one
	Days        int      // life of every certificate; zero means DefaultCADays for the authority and DefaultLeafDays for the rest
	KeyType     KeyType
	ClientName  string           // common name of the client; empty means "berth"
	Force       bool             // replace existing files, including the authority
	Now         func() time.Time // nil means time.Now

	// ForgetRevocations starts an empty revocation list if it is lost and there are no records of it: revoked certificates
	// are then admitted again.
	ForgetRevocations bool

	before hook
}

// Validate returns the faults of the options, without reading files. Init calls it too.
func (o InitOptions) Validate() error {
	if o.Days < 0 || o.Days > maxDays {
		return fmt.Errorf("a validity of %d days is outside 1 to %d", o.Days, maxDays)
	}
	if o.KeyType != "" && o.KeyType != ECDSA && o.KeyType != Ed25519 {
		return errKeyType(o.KeyType)
	}
	if _, _, err := serverNames(o.Hosts, o.Environment); !errors.Is(err, ErrNoHosts) {
		return err
	}
	return nil // an existing set needs none
}

// Outcome is the result of Init.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"   // a new set was written, and there was none before
	Replaced  Outcome = "replaced"  // a new set replaced the existing one
	Completed Outcome = "completed" // an interrupted earlier run was completed, or a missing revocation list was recreated
	Unchanged Outcome = "unchanged" // the existing set is complete and valid
)

// InitResult is the outcome of Init with the certificates of the directory.
type InitResult struct {
	Outcome      Outcome       `json:"outcome"`
	Dir          string        `json:"dir"`
	List         string        `json:"list_made_anew,omitempty"` // file of the revocation list, if it was lost or older and was recreated
	Revoked      int           `json:"revoked,omitempty"`        // how many certificates that list refuses
	Certificates []Description `json:"certificates"`
	Warnings     []Warning     `json:"warnings,omitempty"`
}

// Init ensures that dir has a certificate authority, a server certificate and a client certificate with their keys.
//
// A complete and valid set that covers the requested hosts is unchanged; without requested hosts, any are accepted. A lost
// revocation list is recreated. Any other existing set is an error (a FileError with the remedy) unless Force is set. A run that
// was interrupted is completed by the next one, with or without Force.
func Init(dir string, opts InitOptions) (InitResult, error) {
	if err := opts.Validate(); err != nil {
		return InitResult{}, err
	}
	req := Request{KeyType: opts.KeyType}
	var hostsErr error
	if req.DNSNames, req.IPs, hostsErr = serverNames(opts.Hosts, opts.Environment); hostsErr != nil && !fileset.Exists(dir) {
		return InitResult{}, hostsErr
	}
	if err := makeDirectory(dir, opts.before); err != nil {
		return InitResult{}, err
	}
	result := InitResult{Dir: dir}
	err := edit(dir, opts.Now, opts.before, func(d *directory) error {
		here, missing := d.inventory()
		var err error
		switch {
		case len(here) > 0 && !opts.Force && len(missing) > 0:
			err = fmt.Errorf("%w: %s missing beside %s", ErrIncomplete, strings.Join(missing, ", "), strings.Join(here, ", "))
			err = &FileError{Path: dir, Err: err, Advice: "put the missing files back, or " + adviceForce}
		case len(here) > 0 && !opts.Force:
			err = d.keepSet(opts, &result)
		case hostsErr != nil:
			err = hostsErr
		default:
			if result.Outcome = Created; len(here) > 0 {
				result.Outcome = Replaced
			}
			err = d.makeSet(opts, req)
		}
		if err != nil {
			return err
		}
		if err := d.verifySet(&result); err != nil {
			return err
		}
		if opts.Days > longLife && (result.Outcome == Created || result.Outcome == Replaced) {
			for _, name := range []string{ServerCertFile, ClientCertFile} {
				result.Warnings = append(result.Warnings, longLifeWarning(d.file(name), opts.Days))
			}
		}
		return nil
	})
	if err != nil {
		return InitResult{}, err
	}
	return result, nil
}

// inventory reports which files of a set exist. The authority's key may be kept elsewhere, so it is never missing, and
// alone it does not make a set.
func (d *directory) inventory() (here, missing []string) {
	for _, name := range []string{CAKeyFile, ServerKeyFile, ClientKeyFile, ServerCertFile, ClientCertFile, CACertFile} {
		switch {
		case d.has(name):
			here = append(here, name)
		case name != CAKeyFile:
			missing = append(missing, name)
		}
	}
	return here, missing
}

// keepSet checks the existing set against the requested hosts, and recreates lost lists.
func (d *directory) keepSet(opts InitOptions, result *InitResult) error {
	server := load(ServerPaths(d.path), x509.ExtKeyUsageServerAuth, d.now, files{})
	if server.setErr != nil {
		return server.setErr
	}
	// This is checked before anything is written, so that an error changes nothing.
	if len(opts.Hosts) > 0 {
		if err := checkHosts(server.pair.Leaf, opts.Hosts); err != nil {
			return &FileError{Path: d.file(ServerCertFile), Err: err, Advice: adviceHosts}
		}
	}
	if err := d.restoreLists(opts.ForgetRevocations); err != nil {
		return err
	}
	if d.listsDirty {
		lists, err := d.lists()
		if err != nil {
			return err
		}
		result.List = d.file(CRLFile)
		for _, list := range lists {
			result.Revoked += len(list.RevokedCertificateEntries)
		}
	}
	if result.Outcome = Unchanged; d.completed || d.listsDirty {
		result.Outcome = Completed
	}
	return d.commit()
}

// restoreLists recreates missing lists, and those older than the known ones, of all authorities whose key is here, with all
// known revocations.
func (d *directory) restoreLists(forget bool) error {
	_, lists, known, err := d.read()
	if err != nil {
		return err
	}
	signers, err := d.signers(CAKeyFile, oldCAKey, nextCAKey)
	if err != nil {
		return err
	}
	for _, authority := range signers {
		ca := authority.Certificate
		if about := known.listOf(ca); about != nil && lists.current(ca, about) == nil {
			continue
		}
		if _, _, err := d.extend(authority, nil, forget); err != nil {
			return err
		}
	}
	return nil
}

// makeSet makes three pairs, an empty revocation list, and the records. Records of an earlier
// authority do not apply to the new one.
func (d *directory) makeSet(opts InitOptions, req Request) error {
	lists, known := Revocations{}, &records{Certificates: []record{}}
	d.lists = func() (Revocations, error) { return lists, nil }
	d.records = func() (*records, error) { return known, nil }
	d.drop(nextCAKey, oldCAKey, rotationFile)

	req.Now = d.now
	req.CommonName, req.Days = authorityName(d.now), cmp.Or(opts.Days, DefaultCADays)
	authority, err := NewAuthority(req)
	if err != nil {
		return err
	}
	req.CommonName, req.Days = serverCommonName(req.DNSNames, req.IPs), cmp.Or(opts.Days, DefaultLeafDays)
	server, err := authority.IssueServer(req)
	if err != nil {
		return err
	}
	req.CommonName = cmp.Or(opts.ClientName, "berth")
	client, err := authority.IssueClient(req)
	if err != nil {
		return err
	}
	list, err := authority.Revoked(nil, nil, d.now)
	if err != nil {
		return err
	}
	d.trust([]*x509.Certificate{authority.Certificate})
	d.setList(authority.Certificate, list)
	d.putKey(CAKeyFile, authority.Pair)
	d.putPair(pairFiles{ServerCertFile, ServerKeyFile}, server)
	d.putPair(pairFiles{ClientCertFile, ClientKeyFile}, client)
	return d.commit()
}

// authorityName is the common name of a new authority. The date distinguishes two of them in
// one file or log.
func authorityName(now time.Time) string { return "Berth CA " + now.UTC().Format(time.DateOnly) }

// verifySet checks that the present set is complete and valid, and describes it.
func (d *directory) verifySet(result *InitResult) error {
	if err := d.verifyAuthority(); err != nil {
		return err
	}
	server := load(ServerPaths(d.path), x509.ExtKeyUsageServerAuth, d.now, files{})
	client := load(ClientPaths(d.path, Paths{}), x509.ExtKeyUsageClientAuth, d.now, files{})
	if err := cmp.Or(server.setErr, server.listErr, server.incomplete, client.setErr); err != nil {
		return err
	}
	result.Warnings = append(server.warnings, client.warnings...)
	var err error
	result.Certificates, err = DescribeDir(d.path)
	return err
}

// verifyAuthority checks that ca-key.pem, if present, is the key of an authority in ca.pem.
func (d *directory) verifyAuthority() error {
	if _, err := readAuthorities(d.file(CACertFile), d.now); err != nil {
		return err
	}
	if _, err := d.signer(""); err != nil && !errors.Is(err, ErrMissing) {
		return advise(err, adviceForce)
	}
	return nil
}

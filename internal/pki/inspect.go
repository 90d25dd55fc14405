package pki

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"berth/internal/fileset"
)

// Status is the outcome of one check.
type Status string

// The outcomes.
const (
	Pass Status = "pass"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Finding is the result of one check of a certificate directory. Code is stable and from a closed set.
type Finding struct {
	Code   string `json:"code"`
	Status Status `json:"status"`
	Path   string `json:"path"`
	Text   string `json:"text"`             // the observation
	Remedy string `json:"remedy,omitempty"` // what to do; empty for a pass
}

// The codes of findings; those of a leaf have the prefix "server-" or "client-".
const (
	CheckDirectory    = "directory-mode"
	CheckMode         = "file-mode"
	CheckAuthority    = "authority"
	CheckAuthorityKey = "authority-key"
	CheckPair         = "pair"
	CheckUsage        = "usage"
	CheckDates        = "dates"
	CheckChain        = "chain"
	CheckNames        = "names"
	CheckRevoked      = "not-revoked"
	CheckList         = "revocation-list"
	CheckChange       = "change-complete"
	CheckRotation     = "rotation-complete"
)

// VerifyOptions refine Verify; the zero value is usable.
type VerifyOptions struct {
	Hosts []string // names and addresses that the server certificate must cover
	CAKey string   // file of the authority's key; empty means the one of the directory, which may be missing
	Now   func() time.Time
}

// Verify checks everything in dir and changes nothing: permissions, authorities, pairs, chains, names, usages, dates and the
// revocation list. It returns an error if the directory cannot be read.
func Verify(dir string, opts VerifyOptions) ([]Finding, error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, openError(dir, err)
	}
	i := &inspection{d: openDirectory(dir, opts.Now), opts: opts}
	i.modes()
	i.authorities()
	i.list()
	for found, err := range i.d.leaves() {
		i.leaf(found, err)
	}
	i.unfinished()
	return i.findings, nil
}

type inspection struct {
	d        *directory
	opts     VerifyOptions
	trusted  authorities
	lists    Revocations
	findings []Finding
}

func (i *inspection) note(code string, path string, status Status, remedy, text string, args ...any) {
	if status == Pass {
		remedy = ""
	}
	i.findings = append(i.findings, Finding{Code: code, Status: status, Path: path, Text: fmt.Sprintf(text, args...), Remedy: remedy})
}

// fault adds a pass, or a failure with the advice of the error.
func (i *inspection) fault(code, path string, err error, passed string, args ...any) bool {
	if err == nil {
		i.note(code, path, Pass, "", passed, args...)
		return true
	}
	if file, ok := errors.AsType[*FileError](err); ok {
		i.note(code, file.Path, Fail, file.Advice, "%v", file.Err)
		return false
	}
	i.note(code, path, Fail, adviceForce, "%v", err)
	return false
}

func (i *inspection) modes() {
	if info, err := os.Stat(i.d.path); err == nil {
		status, mode := Pass, info.Mode().Perm()
		switch {
		case mode&0o022 != 0:
			status = Fail
		case mode&0o077 != 0:
			status = Warn
		}
		i.note(CheckDirectory, i.d.path, status, "chmod 0700 "+i.d.path, "mode %04o", mode)
	}
	for _, name := range fileOrder() {
		info, err := fileset.Stat(i.d.file(name))
		if err != nil {
			continue
		}
		mode, want := info.Mode().Perm(), fileMode(name)
		forbidden := fs.FileMode(0o022)
		if want == 0o400 {
			forbidden = 0o077
		}
		status := Pass
		if mode&forbidden != 0 {
			status = Fail
		}
		i.note(CheckMode, i.d.file(name), status, fmt.Sprintf("chmod %04o %s", want, i.d.file(name)), "mode %04o", mode)
	}
}

func (i *inspection) authorities() {
	path := i.d.file(CACertFile)
	found, err := readAuthorities(path, i.d.now)
	if !i.fault(CheckAuthority, path, err, "%d trusted", len(found.usable)) {
		return
	}
	i.trusted = found
	for _, cert := range found.all {
		if err := checkTime(cert, i.d.now); err != nil {
			i.note(CheckAuthority, path, Warn, `"berth certs rotate" retires it`, "%s: %v", cert.Subject, err)
		}
	}
	keyPath := cmp.Or(i.opts.CAKey, i.d.file(CAKeyFile))
	_, err = i.d.signer(keyPath)
	if errors.Is(err, ErrMissing) {
		i.note(CheckAuthorityKey, keyPath, Pass, "", "kept elsewhere")
		return
	}
	i.fault(CheckAuthorityKey, keyPath, err, "belongs to an authority of %s", CACertFile)
}

func (i *inspection) list() {
	path := i.d.file(CRLFile)
	if i.trusted.all == nil {
		return
	}
	lists, err := i.d.lists()
	if err == nil {
		err = lists.complete(i.d.file(CACertFile), i.trusted.all)
	}
	if err == nil && len(lists) == 0 {
		i.note(CheckList, path, Warn, fmt.Sprintf(`run "berth certs init --dir %s", which makes one`, i.d.path), "there is none, and no record of one: a lost list would not be noticed")
		return
	}
	if !i.fault(CheckList, path, err, "%d lists, signed by an authority of %s", len(lists), CACertFile) {
		return
	}
	i.lists = lists
	for _, list := range lists {
		if Overdue(list, i.d.now) {
			i.note(CheckList, path, Warn, adviceRevoke, "number %s should have been followed by another one on %s; it is enforced even so",
				list.Number, list.NextUpdate.UTC().Format(time.DateOnly))
		}
	}
}

func (i *inspection) leaf(found leaf, err error) {
	prefix, usage := "client-", x509.ExtKeyUsageClientAuth
	if found.cert == ServerCertFile {
		prefix, usage = "server-", x509.ExtKeyUsageServerAuth
	}
	path, cert := i.d.file(found.cert), found.certificate
	if err != nil {
		i.fault(prefix+CheckPair, path, err, "")
		return
	}
	// The pair is read as of a time within its validity: dates are checked separately.
	pair, err := readPair(path, i.d.file(found.key), cert.NotBefore)
	i.fault(prefix+CheckPair, i.d.file(found.key), err, "belongs to %s", found.cert)
	kindErr := checkKind(cert, usage)
	i.fault(prefix+CheckUsage, path, kindErr, "good for TLS %ss", strings.TrimSuffix(prefix, "-"))
	i.dates(prefix+CheckDates, path, cert)
	i.names(prefix, path, cert)
	if err != nil || kindErr != nil || i.trusted.all == nil {
		return
	}
	if i.fault(prefix+CheckChain, path, checkChain(pair, i.trusted.all, usage, cert.NotBefore.Add(clockSkew)), "signed by an authority of %s", CACertFile) && i.lists != nil {
		var revoked error
		if issuer := issuerOf(cert, i.trusted.all); issuer != nil && i.lists.Has(issuer, cert.SerialNumber) {
			revoked = &FileError{Path: path, Err: ErrRevoked, Advice: adviceRenew}
		}
		i.fault(prefix+CheckRevoked, path, revoked, "serial number %s", cert.SerialNumber.Text(16))
	}
}

func (i *inspection) dates(code, path string, cert *x509.Certificate) {
	if err := checkTime(cert, i.d.now); err != nil {
		i.note(code, path, Fail, timeAdvice(path, err), "%v", err)
		return
	}
	status := Pass
	if i.d.now.After(renewalTime(cert)) {
		status = Warn
	}
	i.note(code, path, status, `run "berth certs renew"`, "expires on %s, in %d days", cert.NotAfter.UTC().Format(time.DateOnly), ExpiryOf(cert, i.d.now).DaysLeft)
}

// names checks a server's certificate against the requested hosts; without any it must name at least one.
func (i *inspection) names(prefix, path string, cert *x509.Certificate) {
	if prefix != "server-" {
		return
	}
	var err error
	if len(i.opts.Hosts) > 0 {
		err = checkHosts(cert, i.opts.Hosts)
	}
	all := Names(cert)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%w: it names no host at all", ErrWrongHosts)
	}
	i.fault(prefix+CheckNames, path, err, "%s", strings.Join(all, ", "))
}

func (i *inspection) unfinished() {
	if fileset.Interrupted(i.d.path) {
		i.note(CheckChange, i.d.path, Warn, adviceInterrupted, "an earlier command was interrupted")
	}
	if i.trusted.all == nil || !i.d.has(rotationFile) {
		return
	}
	at, err := i.d.rotation()
	if err != nil {
		i.fault(CheckRotation, i.d.file(rotationFile), err, "")
		return
	}
	i.note(CheckRotation, i.d.file(rotationFile), Warn, `"berth certs rotate --status" says what comes next`, "a rotation of the authority stands at %q since %s",
		at.Stage, at.Started.Format(time.DateOnly))
}

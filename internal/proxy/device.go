package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"berth/internal/access"
	"berth/internal/origin"
	"berth/internal/session"
)

// PairingSeconds is how long a pairing code can be used, as its answer says.
const PairingSeconds = 300

var (
	errPairBody = session.Errorf(session.CodeMalformed,
		`the body must be empty, or a JSON object of at most 4096 bytes, like {"name": "my phone"}`)
	errConnect = session.Errorf(session.CodeMalformed,
		"open this address in a browser, or ask for a device's token with Accept: application/json; the code was not used")
)

// isPairing reports whether the request is for Berth's own pairing. Other spellings of its paths are not forwarded either.
func (p *Proxy) isPairing(c *call) bool {
	path, method := c.request.Place.Path, c.request.Method
	return p.rules.Devices &&
		(method == http.MethodPost && path == origin.Pair || method == http.MethodGet && strings.HasPrefix(path, origin.Connect))
}

// servePairing makes a pairing code, or lets in whoever shows one.
func (p *Proxy) servePairing(c *call) error {
	h := c.w.Header()
	h.Set("Referrer-Policy", referrerPolicy)
	h.Set("Cache-Control", "no-store")
	if code, ok := strings.CutPrefix(c.request.Place.Path, origin.Connect); ok {
		return p.connect(c, session.Secret(code))
	}
	return p.newPairing(c)
}

// newPairing makes a pairing code for a principal who may make one, which a cookie does not show. A device gets a code with which it
// renews its own token.
func (p *Proxy) newPairing(c *call) error {
	if err := p.rules.MayPair(&c.request); err != nil {
		return err
	}
	id := c.request.Place.Session
	principal, _, err := p.admitSecret(c, access.Ask{
		Surface: access.Proxy, Operation: "pair", Verb: access.Pair, Session: id, Secret: c.secret(),
	})
	if err != nil {
		return err
	}
	if err := p.access.MayLink(principal, id); err != nil {
		return err
	}
	name, err := readName(c)
	if err != nil {
		return err
	}
	code, digest := p.access.NewPairingCode()
	made := session.Link{Digest: digest, Name: name, Renews: principal.SignIn, Token: string(principal.PlatformToken())}
	if err := p.signIns.NewPairing(access.WithPrincipal(c.in.Context(), principal), id, made); err != nil {
		return err
	}
	return writeJSON(c, map[string]any{"code": code.Reveal(), "expires_in": PairingSeconds})
}

// readName reads what the device is to be called: the member name of a JSON object. There may be no content.
func readName(c *call) (string, error) {
	text, err := io.ReadAll(http.MaxBytesReader(c.w, c.in.Body, maxForm))
	if err != nil {
		return "", errPairBody.Because(err)
	}
	if len(text) == 0 {
		return "", nil
	}
	var body struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return "", errPairBody.Because(err)
	}
	return access.Printable(body.Name), nil
}

// connect signs a browser in that opens the address of a code, by a form of its own page, and gives a program a device's token.
func (p *Proxy) connect(c *call, code session.Secret) error {
	if c.request.IsNavigation() {
		return showPage(c, http.StatusOK, linkPage, pageData{Code: code.Reveal(), Pairing: true})
	}
	if err := p.rules.MayPair(&c.request); err != nil {
		return err
	}
	if !c.request.WantsJSON() {
		return errConnect // programs that only look at an address do not use its code up
	}
	token, in := p.access.NewDevice(c.in.UserAgent())
	if err := p.redeem(c, code, p.access.Keys.PairingDigest(code), "", in); err != nil {
		return err
	}
	return writeJSON(c, map[string]any{"token": token.Reveal()})
}

// admitDevice returns the principal of a device's token, and the session's entry; nil if it is no such token. The first use of a new token
// ends the one before.
func (p *Proxy) admitDevice(c *call, ask access.Ask) (access.Principal, *entry, error) {
	ctx := c.in.Context()
	for range 2 { // what is confirmed is looked at again, in the entry that has it
		e := p.table.entry(ask.Session)
		principal, fresh, ok := p.access.AdmitDevice(ctx, ask, e.signIns())
		if !ok {
			break
		}
		if fresh == "" {
			return principal, e, nil
		}
		err := p.signIns.ConfirmDevice(access.WithPrincipal(ctx, principal), ask.Session, principal.SignIn, fresh)
		switch session.CodeOf(err) {
		case "":
		case session.CodeUnauthorized, session.CodeNotFound: // it has ended meanwhile
			return access.Principal{}, nil, errSignedOut
		default:
			return access.Principal{}, nil, err
		}
	}
	return access.Principal{}, nil, nil
}

func writeJSON(c *call, value any) error {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(http.StatusOK)
	_ = json.NewEncoder(c.w).Encode(value) // the client has closed the connection
	return nil
}

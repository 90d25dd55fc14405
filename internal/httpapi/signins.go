package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	"rsc.io/qr"

	"berth/internal/access"
	"berth/internal/origin"
	"berth/internal/session"
)

// SignInLink is the response to the making of a link.
type SignInLink struct {
	Links     []Address `json:"links" doc:"the same link at each address of the session; the one for most clients is the first"`
	ExpiresAt time.Time `json:"expires_at"`
	QR        string    `json:"qr,omitempty" doc:"the first link as a PNG in a data: URL"`
}

type createLinkInput struct {
	IDParam
	QR bool `query:"qr" doc:"with a picture of the link"`
}

type createLinkOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         SignInLink
}

var errNoAddress = session.Errorf(session.CodeConflict,
	"no browser can open this session: it has no address of its own. Set SESSION_DOMAIN and BERTH_PUBLIC_URL, let SESSION_PORTS have more ports than it has if all are taken, or let Berth listen on a loopback address")

var errNoTLS = session.Errorf(session.CodeConflict, "no browser can sign in to this session: its addresses are plain HTTP, where anybody in between could read along. "+
	"Set BERTH_TLS_CERT and BERTH_TLS_KEY, or BERTH_ACME_EMAIL, or let a proxy with TLS stand in front, and let BERTH_PUBLIC_URL begin with https")

func (a *API) createLink(ctx context.Context, in *createLinkInput) (*createLinkOutput, error) {
	made, err := a.newLink(ctx, access.PrincipalOf(ctx), in.ID, "")
	if err != nil {
		return nil, err
	}
	out := &createLinkOutput{CacheControl: "no-store", Body: made}
	if in.QR {
		picture, err := qr.Encode(made.Links[0].URL, qr.M)
		if err != nil {
			return nil, err
		}
		out.Body.QR = "data:image/png;base64," + base64.StdEncoding.EncodeToString(picture.PNG())
	}
	return out, nil
}

// newLink makes a link to a session for a principal who may make one, for any browser if binding is empty. There is at least one
// address.
func (a *API) newLink(ctx context.Context, p access.Principal, id session.ID, binding string) (SignInLink, error) {
	addresses, err := a.forBrowsers(id)
	if err != nil {
		return SignInLink{}, err
	}
	if err := a.Access.MayLink(p, id); err != nil {
		return SignInLink{}, err
	}
	code, digest := a.Access.NewCode()
	expires, err := a.Sessions.NewLink(ctx, id, session.Link{Digest: digest, Binding: binding, Token: string(p.PlatformToken())})
	if err != nil {
		return SignInLink{}, err
	}
	made := SignInLink{ExpiresAt: expires}
	for _, at := range addresses {
		made.Links = append(made.Links, Address{By: string(at.Way), URL: origin.Link(at.URL, code)})
	}
	return made, nil
}

// forBrowsers are the addresses at which browsers sign in to a session: at least one.
func (a *API) forBrowsers(id session.ID) ([]origin.Address, error) {
	own := slices.DeleteFunc(a.Addresses(id), func(at origin.Address) bool { return !at.Way.ForBrowsers() })
	if len(own) == 0 {
		return nil, errNoAddress
	}
	own = slices.DeleteFunc(own, func(at origin.Address) bool { return !at.IsSecure() })
	if len(own) == 0 {
		return nil, errNoTLS
	}
	return own, nil
}

// What is signed in to a session.
const (
	kindBrowser = "browser"
	kindDevice  = "device"
)

// SessionSignIn is a browser that is signed in to a session, or a device that has paired with it.
type SessionSignIn struct {
	ID        string    `json:"sign_in_id" example:"in-0123456789abcdef"`
	Kind      string    `json:"kind" enum:"browser,device"`
	At        time.Time `json:"signed_in_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Browser   string    `json:"browser,omitempty" doc:"what the browser or the device calls itself"`
}

type signInsOutput struct {
	Body struct {
		SignIns []SessionSignIn `json:"sign_ins"`
	}
}

func (a *API) listSignIns(ctx context.Context, in *IDParam) (*signInsOutput, error) {
	s, err := a.Sessions.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := &signInsOutput{}
	out.Body.SignIns = []SessionSignIn{}
	for _, one := range s.PresentSignIns(a.Now()) {
		if !a.Access.MayUse(one) {
			continue
		}
		kind := kindBrowser
		if one.Device {
			kind = kindDevice
		}
		out.Body.SignIns = append(out.Body.SignIns, SessionSignIn{ID: one.ID, Kind: kind, At: one.At, ExpiresAt: one.Ends(), Browser: one.Browser})
	}
	return out, nil
}

type endSignInInput struct {
	IDParam
	SignIn string `path:"sign_in" maxLength:"64"`
}

func (a *API) endSignIn(ctx context.Context, in *endSignInInput) (*deleteOutput, error) {
	if err := a.Sessions.SignOut(ctx, in.ID, in.SignIn); err != nil {
		return nil, err
	}
	return &deleteOutput{Status: http.StatusNoContent}, nil
}

package httpapi

import (
	"context"
	"net/http"
	"time"

	"berth/internal/access"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

type authOutput struct{ Body Auth }

func (a *API) sessionAuth(ctx context.Context, in *IDParam) (*authOutput, error) {
	s, err := a.Sessions.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &authOutput{Body: a.authOf(s)}, nil
}

func (a *API) authOf(s session.Session) Auth {
	now := a.Now()
	return Auth{
		ID: s.ID, Valid: s.Token.Valid(now), RotatedAt: s.Token.RotatedAt, ExpiresAt: timeOf(s.Token.ExpiresAt),
		PreviousExpiresAt: timeOf(s.Token.GraceEnd(now)),
	}
}

func (a *API) authSessions(ctx context.Context, in *PageParams) (*pageOutput[Auth], error) {
	page, err := a.list(ctx, in.Owner, session.Query{TokenAt: a.Now(), After: in.After, Limit: in.Limit})
	return pageOf(page, a.authOf), err
}

type rotateInput struct {
	IDParam
	Grace string `query:"grace" example:"30s" doc:"how long the old token stays valid, up to 10m; absent: it is refused at once"`
}

type rotateOutput struct{ Body NewToken }

func (a *API) rotateToken(ctx context.Context, in *rotateInput) (*rotateOutput, error) {
	grace, err := graceOf(in.Grace)
	if err != nil {
		return nil, err
	}
	if err := a.Access.MayRotate(access.PrincipalOf(ctx), in.ID); err != nil {
		return nil, err
	}
	token, digest := a.Access.Issue()
	s, err := a.Sessions.Rotate(ctx, in.ID, digest, grace)
	if err != nil {
		return nil, err
	}
	return &rotateOutput{Body: NewToken{Auth: a.authOf(s), Token: token.Reveal()}}, nil
}

// graceOf parses the grace period, for which a replaced token stays valid.
func graceOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	grace, err := time.ParseDuration(text)
	if err != nil || grace < 0 || grace > lifecycle.MaxGrace {
		return 0, &Problem{
			Status: http.StatusBadRequest, Code: session.CodeInvalid, Detail: "grace must be a time like 30s, and at most 10m",
			Faults: []Fault{{Message: "expected a time between 0s and 10m, with its unit", Location: "query.grace"}},
		}
	}
	return grace, nil
}

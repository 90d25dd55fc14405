package httpapi

import (
	"context"
	"time"

	"berth/internal/access"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

type upgradeInput struct {
	IDParam
	PreferParam
	Body *struct {
		Image string `json:"image,omitempty" maxLength:"255" doc:"image that the session keeps from then on; absent: its profile's, which it follows from then on"`
		Back  bool   `json:"back,omitempty" doc:"take the newest upgrade back: to the previous image, with the state of that time; what was added to the state since is lost, the workspace stays"`
	}
}

func (a *API) upgradeSession(ctx context.Context, in *upgradeInput) (*sessionOutput, error) {
	req := lifecycle.UpgradeRequest{}
	if in.Body != nil {
		req.Image, req.Back = in.Body.Image, in.Body.Back
	}
	if err := mayChooseImage(access.PrincipalOf(ctx), req.Image); err != nil {
		return nil, err
	}
	w, err := a.Sessions.Upgrade(ctx, in.ID, req)
	if err != nil {
		return nil, err
	}
	return a.outcome(ctx, w, in.async())
}

// compareTime bounds the comparison of the container with the settings. A session is shown without its result too.
const compareTime = 2 * time.Second

func (a *API) outOfDate(ctx context.Context, s session.Session) []session.Part {
	ctx, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	parts, err := a.Sessions.OutOfDate(ctx, s)
	if err != nil {
		a.Logger.DebugContext(ctx, "container not compared with the settings", "session_id", s.ID, "error", err)
		return nil
	}
	return parts
}

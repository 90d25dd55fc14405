// Package chromium drives a real Chromium in tests, one tab by one.
//
// It knows pages and scripts. It does not know what serves them.
package chromium

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"berth/internal/chromiumtest"
)

// patience is how long a step of a browser may take on a machine that is busy with other tests.
const patience = 2 * time.Minute

// Start starts a browser with a new profile, which resolves every name to this machine, those below localhost by
// itself, and trusts every certificate. It returns the context of its first tab. With addresses it has a network of its own, from which
// it reaches these alone and which other tests do not change.
func Start(t *testing.T, addresses ...string) context.Context {
	t.Helper()
	return chromiumtest.Start(t, addresses, chromedp.IgnoreCertErrors, chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1, EXCLUDE *.localhost"))
}

// NewTab opens another tab of the same browser.
func NewTab(of context.Context, t *testing.T) context.Context {
	t.Helper()
	tab, end := chromedp.NewContext(of)
	t.Cleanup(end)
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return tab
}

// Visit shows a page, and returns the status that it came with. It tries again where other tests have just changed this machine's
// network interfaces, which makes Chromium give up what is under way.
func Visit(tab context.Context, t *testing.T, url string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, patience)
	defer cancel()
	response, err := chromedp.Run(ctx, chromedp.NavigateResponse(url))
	for err != nil && strings.Contains(err.Error(), "ERR_NETWORK_CHANGED") {
		response, err = chromedp.Run(ctx, chromedp.NavigateResponse(url))
	}
	if err != nil {
		t.Fatalf("visit %s: %v", withoutCode(url), err)
	}
	if response == nil {
		return 0
	}
	return response.Status
}

// withoutCode is a link's address without what signs in.
func withoutCode(url string) string {
	before, _, _ := strings.Cut(url, "/.berth/")
	return before
}

// Evaluate runs the body of an async function in a tab, as if its user had just clicked, and returns the text that it returns.
func Evaluate(tab context.Context, body string) (string, error) {
	ctx, cancel := context.WithTimeout(tab, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[string]("(async()=>{"+body+"})()", chromedp.EvalAwaitPromise,
		func(p *runtime.EvaluateParams) { p.UserGesture = new(true) }))
}

// CloseOthers closes every page but those of the tabs.
func CloseOthers(t *testing.T, tabs ...context.Context) {
	t.Helper()
	all, err := chromedp.Targets(tabs[0])
	if err != nil {
		t.Fatal(err)
	}
	kept := map[target.ID]bool{}
	for _, tab := range tabs {
		kept[chromedp.FromContext(tab).Target.TargetID] = true
	}
	for _, one := range all {
		if one.Type == "page" && !kept[one.TargetID] {
			// It may have closed itself.
			_, _ = chromedp.CallBrowser(tabs[0], target.CloseTarget, target.CloseTargetParams{TargetID: one.TargetID})
		}
	}
}

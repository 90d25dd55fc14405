package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// operations are those with a body, by a short name.
func operations() map[string]operation {
	return map[string]operation{
		"chat":      bodies[OpenAI]["chat/completions"],
		"responses": bodies[OpenAI]["responses"],
		"messages":  bodies[Anthropic]["messages"],
		"google":    generateOf("models/m:streamGenerateContent", "alt=sse"),
	}
}

func onlyM(model string) bool { return model == "m" }

func TestHostileBodiesAreRefused(t *testing.T) {
	t.Parallel()
	chatWith := func(content string) string {
		return `{"model":"m","messages":[{"role":"user","content":[` + content + `]}]}`
	}
	messagesWith := func(content string) string {
		return `{"model":"m","messages":[{"role":"user","content":[` + content + `]}]}`
	}
	inputWith := func(item string) string { return `{"model":"m","input":[` + item + `]}` }
	googleWith := func(part string) string { return `{"contents":[{"parts":[` + part + `]}]}` }
	for _, tc := range []struct{ operation, body, rule string }{
		{"chat", ``, RuleBody},
		{"chat", `null`, RuleBody},
		{"chat", `[]`, RuleBody},
		{"chat", `{"model":"m"} {}`, RuleBody},
		{"chat", `{"model":"m"}x`, RuleBody},
		{"chat", `{"model":"m","model":"other"}`, RuleBody},
		{"chat", `{"model":"m","mod\u0065l":"other"}`, RuleBody},
		{"chat", `{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}`, RuleBody},
		{"chat", `{"model":"m","tools":[{"type":"function","type":"web_search"}]}`, RuleBody},
		{"chat", "{\"model\":\"m\",\"user\":\"\xff\"}", RuleBody},
		{"chat", `{"model":"m","user":"\ud800"}`, RuleBody},
		{"chat", `{"model":"m","metadata":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`, RuleBody},
		{"chat", `{"messages":[]}`, RuleBody},
		{"chat", `{"model":["m"]}`, RuleBody},
		{"chat", `{"model":"m","stream":"true"}`, RuleBody},
		{"chat", `{"model":"m","n":1000}`, RuleBody},
		{"chat", `{"model":"m","max_tokens":-1}`, RuleBody},
		{"chat", `{"model":"m","max_tokens":1e9}`, RuleBody},
		{"chat", `{"model":"other"}`, RuleModel},
		{"chat", `{"model":"M"}`, RuleModel},
		{"chat", `{"model":"m "}`, RuleModel},
		{"chat", `{"model":"m:online"}`, RuleModel},
		{"chat", `{"Model":"other","model":"m"}`, RuleMember},
		{"chat", `{"model":"m","models":["other"]}`, RuleMember},
		{"chat", `{"model":"m","plugins":[{"id":"web"}]}`, RuleMember},
		{"chat", `{"model":"m","store":true}`, RuleState},
		{"chat", `{"model":"m","service_tier":"priority"}`, RulePrice},
		{"chat", `{"model":"m","web_search_options":{}}`, RuleServerTool},
		{"chat", `{"model":"m","tools":[{"type":"web_search"}]}`, RuleServerTool},
		{"chat", `{"model":"m","tools":[{"function":{}}]}`, RuleBody},
		{"chat", chatWith(`{"type":"image_url","image_url":{"url":"https://evil.example/?q=secret"}}`), RuleRemoteURL},
		{"chat", chatWith(`{"type":"image_url","image_url":"https://evil.example/"}`), RuleRemoteURL},
		{"chat", chatWith(`{"type":"image_url","image_url":{"url":"DATA:x"}}`), RuleRemoteURL},
		{"chat", chatWith(`{"type":"video_url","video_url":{"url":"file:///etc/passwd"}}`), RuleRemoteURL},
		{"chat", chatWith(`{"type":"text","text":"a","image_url":{"url":"https://evil.example/"}}`), RuleMember},
		{"chat", chatWith(`{"image_url":{"url":"https://evil.example/"}}`), RuleBody},
		{"chat", chatWith(`{"type":"file","file":{"file_id":"file-1"}}`), RuleState},
		{"chat", chatWith(`{"type":"input_audio","input_audio":{"data":"https://evil.example/","format":"mp3"}}`), RuleRemoteURL},
		{"chat", chatWith(`{"type":"new_thing"}`), RuleMember},
		{"chat", `{"model":"m","messages":[{"role":"assistant","audio":{"id":"audio_1"}}]}`, RuleState},
		{"responses", `{"model":"m","background":true}`, RuleState},
		{"responses", `{"model":"m","store":true}`, RuleState},
		{"responses", `{"model":"m","store":"true"}`, RuleState},
		{"responses", `{"model":"m","previous_response_id":"resp_1"}`, RuleState},
		{"responses", `{"model":"m","conversation":"conv_1"}`, RuleState},
		{"responses", `{"model":"m","prompt":{"id":"pmpt_1"}}`, RuleState},
		{"responses", `{"model":"m","tools":[{"type":"web_search"}]}`, RuleServerTool},
		{"responses", `{"model":"m","tools":[{"type":"mcp","server_url":"https://evil.example/"}]}`, RuleServerTool},
		{"responses", `{"model":"m","tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}`, RuleServerTool},
		{"responses", `{"model":"m","tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}`, RuleServerTool},
		{"responses", `{"model":"m","tools":[{"type":"image_generation"}]}`, RuleServerTool},
		{"responses", `{"model":"m","tools":[{"type":"shell"}]}`, RuleServerTool},
		{"responses", `{"model":"m","tool_choice":{"type":"allowed_tools","tools":[{"type":"web_search"}]}}`, RuleServerTool},
		{"responses", `{"model":"m","include":["file_search_call.results"]}`, RuleServerTool},
		{"responses", inputWith(`{"type":"item_reference","id":"msg_1"}`), RuleState},
		{"responses", inputWith(`{"role":"user","content":[{"type":"input_image","image_url":"https://evil.example/"}]}`), RuleRemoteURL},
		{"responses", inputWith(`{"role":"user","content":[{"type":"input_image","file_id":"file-1"}]}`), RuleState},
		{"responses", inputWith(`{"role":"user","content":[{"type":"input_file","file_url":"https://evil.example/"}]}`), RuleRemoteURL},
		{"responses", inputWith(`{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"https://evil.example/"}]}`), RuleRemoteURL},
		{"responses", inputWith(`{"type":"web_search_call","id":"ws_1"}`), RuleServerTool},
		{"messages", `{"model":"m","mcp_servers":[]}`, RuleServerTool},
		{"messages", `{"model":"m","container":"container_1"}`, RuleState},
		{"messages", `{"model":"m","speed":"fast"}`, RulePrice},
		{"messages", `{"model":"m","tools":[{"type":"web_search_20250305","name":"web_search"}]}`, RuleServerTool},
		{"messages", `{"model":"m","tools":[{"type":"code_execution_20250825","name":"c"}]}`, RuleServerTool},
		{"messages", `{"model":"m","tools":[{"type":"bash_code_execution","name":"c"}]}`, RuleServerTool},
		{"messages", `{"model":"m","tools":[{"name":"c","allowed_callers":["code_execution_20250825"]}]}`, RuleServerTool},
		{"messages", messagesWith(`{"type":"image","source":{"type":"url","url":"https://evil.example/"}}`), RuleRemoteURL},
		{"messages", messagesWith(`{"type":"document","source":{"type":"file","file_id":"file_1"}}`), RuleState},
		{"messages", messagesWith(`{"type":"container_upload","file_id":"file_1"}`), RuleState},
		{"messages", messagesWith(`{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"type":"url","url":"https://evil.example/"}}]}}`), RuleRemoteURL},
		{"messages", messagesWith(`{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"url","url":"https://evil.example/"}}]}`), RuleRemoteURL},
		{"messages", messagesWith(`{"type":"server_tool_use","id":"s","name":"web_search","input":{}}`), RuleServerTool},
		{"google", `{"cachedContent":"cachedContents/1"}`, RuleState},
		{"google", `{"cached_content":"cachedContents/1"}`, RuleMember},
		{"google", `{"model":"models/other"}`, RuleMember},
		{"google", `{"tools":[{"googleSearch":{}}]}`, RuleServerTool},
		{"google", `{"tools":[{"google_search":{}}]}`, RuleServerTool},
		{"google", `{"tools":[{"functionDeclarations":[],"urlContext":{}}]}`, RuleServerTool},
		{"google", `{"tools":[{"codeExecution":{}}]}`, RuleServerTool},
		{"google", `{"generationConfig":{"candidateCount":1000}}`, RuleBody},
		{"google", googleWith(`{"fileData":{"fileUri":"https://evil.example/"}}`), RuleRemoteURL},
		{"google", googleWith(`{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/1"}}`), RuleState},
		{"google", googleWith(`{"file_data":{"file_uri":"https://evil.example/"}}`), RuleMember},
		{"google", googleWith(`{"functionResponse":{"name":"f","response":{},"parts":[{"fileData":{"fileUri":"gs://b/o"}}]}}`), RuleState},
		{"google", googleWith(`{"executableCode":{"code":"1"}}`), RuleServerTool},
	} {
		_, refused := operations()[tc.operation].judge(policy{}, onlyM, []byte(tc.body))
		if refused == nil || refused.rule != tc.rule {
			t.Errorf("%s %.200s: got %v, want a refusal by the rule %s", tc.operation, tc.body, refused, tc.rule)
		}
	}
}

func TestUsualBodiesAreAllowed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ operation, body string }{
		{"chat", `{"model":"m","max_tokens":8000,"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"t"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"bash","arguments":"{\"url\":\"https://x\"}"}}]},{"role":"tool","tool_call_id":"c","content":"r"}],"tools":[{"type":"function","function":{"name":"bash","parameters":{"properties":{"file_id":{"type":"string"}}}}}],"tool_choice":"auto","stream":true}`},
		{"responses", `{"model":"m","input":[{"role":"developer","content":"d"},{"role":"user","content":[{"type":"input_text","text":"t"},{"type":"input_image","image_url":"data:image/png;base64,AA=="}]},{"type":"reasoning","id":"rs","encrypted_content":"x","summary":[]},{"type":"function_call","call_id":"c","name":"bash","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"r"}],"store":false,"include":["reasoning.encrypted_content"],"prompt_cache_key":"k","reasoning":{"effort":"high","summary":"auto"},"tools":[{"type":"function","name":"bash","description":"d","parameters":{},"strict":false}],"tool_choice":"auto","background":false,"previous_response_id":null,"stream":true}`},
		{"messages", `{"model":"m","max_tokens":32000,"thinking":{"type":"adaptive"},"output_config":{"effort":"max"},"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"t"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}]},{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"s"},{"type":"tool_use","id":"t","name":"bash","input":{"type":"container_upload"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"r"}]}]}],"tools":[{"name":"bash","description":"d","input_schema":{},"eager_input_streaming":true},{"type":"bash_20250124","name":"b"}],"tool_choice":{"type":"auto"},"stream":true}`},
		{"google", `{"generationConfig":{"maxOutputTokens":32000,"thinkingConfig":{"includeThoughts":true}},"contents":[{"role":"user","parts":[{"text":"t"},{"inlineData":{"mimeType":"image/png","data":"AA=="}}]},{"role":"model","parts":[{"functionCall":{"name":"bash","args":{}},"thoughtSignature":"s"}]},{"role":"user","parts":[{"functionResponse":{"name":"bash","response":{"name":"bash","content":"r"}}}]}],"systemInstruction":{"parts":[{"text":"s"}]},"tools":[{"functionDeclarations":[{"name":"bash"}]}],"toolConfig":{"functionCallingConfig":{"mode":"AUTO"}}}`},
	} {
		j, refused := operations()[tc.operation].judge(policy{}, onlyM, []byte(tc.body))
		if refused != nil {
			t.Errorf("%s: refused: %v", tc.operation, refused)
			continue
		}
		if !json.Valid(j.body) || !j.stream {
			t.Errorf("%s: would send %s, stream %v", tc.operation, j.body, j.stream)
		}
	}
}

func TestOperatorsMayAllowMore(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		operation, body string
		policy          policy
	}{
		{"chat", `{"model":"m","vendor_option":{"a":1}}`, policy{parameters: []string{"vendor_option"}}},
		{"chat", `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a.example/"}}]}]}`, policy{remoteURLs: true}},
		{"responses", `{"model":"m","tools":[{"type":"web_search"}]}`, policy{serverTools: true}},
		{"messages", `{"model":"m","tools":[{"type":"web_search_20250305","name":"web_search"}],"messages":[{"role":"assistant","content":[{"type":"server_tool_use","id":"s"},{"type":"web_search_tool_result","content":[]}]}]}`, policy{serverTools: true}},
		{"google", `{"tools":[{"googleSearch":{}}]}`, policy{serverTools: true}},
	} {
		o := operations()[tc.operation]
		if _, refused := o.judge(tc.policy, onlyM, []byte(tc.body)); refused != nil {
			t.Errorf("%s %s: refused with %+v: %v", tc.operation, tc.body, tc.policy, refused)
		}
		if _, refused := o.judge(policy{}, onlyM, []byte(tc.body)); refused == nil {
			t.Errorf("%s %s: allowed by default", tc.operation, tc.body)
		}
	}
}

func TestGatewayWritesWhatDecidesOfStateAndCount(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ operation, body, want string }{
		{"responses", `{"model":"m", "input" : "x"}`, `{"model":"m","input":"x","store":false}`},
		{"responses", `{"store":null,"model":"m"}`, `{"model":"m","store":false}`},
		{"chat", `{"stream_options":{"include_usage":false},"model":"m","stream":true}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`},
		{"chat", `{"model":"m","stream":true,"stream_options":{"include_obfuscation":false}}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}`},
		{"chat", `{"model":"m","stream":false}`, `{"model":"m","stream":false}`},
	} {
		j, refused := operations()[tc.operation].judge(policy{}, onlyM, []byte(tc.body))
		if refused != nil || string(j.body) != tc.want {
			t.Errorf("%s: got %s, refused %v, want %s", tc.body, j.body, refused, tc.want)
		}
	}
}

func TestManyMembersAreNotSlow(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`{"model":"m","metadata":{`)
	for i := range 9_000 {
		fmt.Fprintf(&b, `"k%d":1,`, i)
	}
	text := b.String()
	if _, refused := operations()["chat"].judge(policy{}, onlyM, []byte(text+`"z":1}}`)); refused != nil {
		t.Errorf("refused: %v", refused)
	}
	if _, refused := operations()["chat"].judge(policy{}, onlyM, []byte(text+`"k0":1}}`)); refused == nil {
		t.Error("a name twice among many is allowed")
	}
}

// forbidden looks at what would be sent, with another parser, for what a policy of nothing must not let through.
func forbidden(operation string, body []byte) error {
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	if operation != "google" && v["model"] != "m" {
		return fmt.Errorf("the model is %v", v["model"])
	}
	if _, said := v["store"].(bool); operation == "responses" && !said {
		return fmt.Errorf("store is %v", v["store"])
	}
	for _, name := range []string{"background", "store"} {
		if asks(v[name]) {
			return fmt.Errorf("%s is %v", name, v[name])
		}
	}
	for _, name := range []string{"previous_response_id", "conversation", "prompt", "container", "mcp_servers", "cachedContent", "web_search_options"} {
		if asks(v[name]) {
			return fmt.Errorf("%s is there", name)
		}
	}
	tools, _ := v["tools"].([]any)
	for _, tool := range tools {
		members, _ := tool.(map[string]any)
		kind, _ := members["type"].(string)
		if operation != "google" && kind != "" && !slices.Contains([]string{"function", "custom", "local_shell", "apply_patch"}, kind) && !strings.Contains(kind, "_2") {
			return fmt.Errorf("a tool of type %q", kind)
		}
		if strings.Contains(kind, "search") || strings.Contains(kind, "execution") {
			return fmt.Errorf("a tool of type %q", kind)
		}
		if operation == "google" && (len(members) > 1 || len(members) == 1 && members["functionDeclarations"] == nil && !hasKey(members, "functionDeclarations")) {
			return fmt.Errorf("tools %v", members)
		}
	}
	for _, name := range []string{"messages", "input", "contents", "system", "systemInstruction"} {
		if err := remote(v[name]); err != nil {
			return err
		}
	}
	return nil
}

// asks reports whether a member is more than nothing.
func asks(member any) bool {
	yes, isBool := member.(bool)
	return member != nil && (!isBool || yes)
}

func hasKey(m map[string]any, name string) bool { _, found := m[name]; return found }

// remote finds addresses and files of the provider in a conversation, outside of what tools are called with.
func remote(v any) error {
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			if err := remote(element); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, member := range v {
			text, isText := member.(string)
			switch name {
			case "file_id":
				if asks(member) {
					return fmt.Errorf("a file: %v", member)
				}
			case "url", "image_url", "file_url", "fileUri":
				if isText && !strings.HasPrefix(text, "data:") {
					return fmt.Errorf("an address: %q", text)
				}
			case "input", "args", "response", "arguments", "function", "custom", "action", "operation", "citations", "annotations", "extra_content", "cache_control",
				"reasoning_details", "reasoning", "summary", "caller", "function_call", "partialArgs", "logprobs", "partMetadata", "videoMetadata", "mediaResolution":
				continue
			}
			if err := remote(member); err != nil {
				return err
			}
		}
	}
	return nil
}

func FuzzJudge(f *testing.F) {
	for name := range operations() {
		for _, body := range []string{
			`{"model":"m","store":true,"tools":[{"type":"web_search"}]}`,
			`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a"}}]}],"stream":true}`,
			`{"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":"data:,"}]}]}`,
			`{"contents":[{"parts":[{"fileData":{"fileUri":"https://a"}}]}],"tools":[{"googleSearch":{}}]}`,
			`{"model":"m","messages":[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://a"}}]}]}`,
			`{"model":"m","mod\u0065l":"x"}`,
		} {
			f.Add(name, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		o, known := operations()[name]
		if !known {
			return
		}
		j, refused := o.judge(policy{}, onlyM, body)
		if refused != nil {
			return
		}
		if err := forbidden(name, j.body); err != nil {
			t.Errorf("%s %q would be sent as %q: %v", name, body, j.body, err)
		}
	})
}

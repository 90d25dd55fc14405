package model

import "strings"

// generate is the body of Google's generateContent. Its API takes names in two spellings; only that of its documentation is known
// here, so that no member can be given twice.
var generate = with(fields("safetySettings", "generationConfig", "toolConfig", "labels"), map[string]rule{
	"contents":          list(content),
	"systemInstruction": textOr(content),
	"tools":             list(googleTool),
	"cachedContent":     never("refers to content that is kept at the provider, where all sessions share one account; send it itself"),
	"store":             stored,
})

var content = object(map[string]rule{"role": text, "parts": list(part)})

// googleTool has one member for each kind of tool.
func googleTool(p policy, v value) *refusal {
	if !v.isObject() {
		return refuse(RuleBody, "must be an object")
	}
	for name := range v.members() {
		if name == "functionDeclarations" {
			continue
		}
		if r := onlyServerTools(p, name); r != nil {
			return r
		}
	}
	return nil
}

// part is one of a message.
func part(p policy, v value) *refusal {
	inner := object(map[string]rule{
		"text": text, "thought": text, "thoughtSignature": text, "partMetadata": anything, "videoMetadata": anything, "mediaResolution": anything,
		"inlineData":          object(map[string]rule{"mimeType": text, "data": text, "displayName": text}),
		"fileData":            fileData,
		"functionCall":        object(fields("id", "name", "args", "partialArgs", "willContinue")),
		"functionResponse":    functionResponse,
		"executableCode":      historyOf("executableCode"),
		"codeExecutionResult": historyOf("codeExecutionResult"),
		"toolCall":            historyOf("toolCall"),
		"toolResponse":        historyOf("toolResponse"),
	})
	return inner(p, v)
}

// historyOf allows what the provider's own tools have added to the conversation.
func historyOf(what string) rule {
	return func(p policy, _ value) *refusal { return onlyServerTools(p, what) }
}

func functionResponse(p policy, v value) *refusal {
	return object(with(fields("id", "name", "response", "willContinue", "scheduling"), map[string]rule{
		"parts": list(object(map[string]rule{
			"inlineData": object(map[string]rule{"mimeType": text, "data": text, "displayName": text}),
			"fileData":   fileData,
		})),
	}))(p, v)
}

func fileData(p policy, v value) *refusal {
	return object(map[string]rule{"mimeType": text, "displayName": text, "fileUri": func(p policy, v value) *refusal {
		// Files that are kept at the provider have addresses there.
		if address := v.text(); strings.Contains(address, "googleapis.com") || strings.HasPrefix(address, "gs:") || strings.HasPrefix(address, "files/") {
			return refuse(RuleState, fileSentence)
		}
		return remoteURL(p, v)
	}})(p, v)
}

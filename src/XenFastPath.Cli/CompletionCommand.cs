// xfp completion: the scripts of packaging/completions, which teach a shell to ask xfp itself (Completer).
using System.CommandLine;

namespace XenFastPath.Cli;

internal static class CompletionCommand
{
    public static Command Build(Session session) =>
        new("completion", "Print a script that makes a shell complete the words of xfp.")
    {
        Script(session, "bash", "for ~/.bashrc: source <(xfp completion bash)"),
        Script(session, "zsh", "for ~/.zshrc: source <(xfp completion zsh)"),
        Script(session, "fish", "for ~/.config/fish/config.fish: xfp completion fish | source"),
    };

    private static Command Script(Session session, string shell, string description)
    {
        var command = new Command(shell, description);
        command.SetAction(_ =>
        {
            Stream resource = typeof(CompletionCommand).Assembly.GetManifestResourceStream($"completion.{shell}")!;
            using var script = new StreamReader(resource);
            session.Terminal.Out.Write(script.ReadToEnd());
            return ExitStatus.Done;
        });
        return command;
    }
}

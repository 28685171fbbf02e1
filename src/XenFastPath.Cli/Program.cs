// xfp: the command line of XenFastPath. Reading order: App, CommandTree, Session, then the command you care about.
using XenFastPath.Cli;

// Called through a link named brctl it is `xfp brctl`, so that scripts written for bridge-utils keep working.
bool isBrctl = Path.GetFileName(Environment.GetCommandLineArgs()[0]) == BrctlCommand.Name;
return await App.RunAsync(isBrctl ? [BrctlCommand.Name, .. args] : args, Terminal.OfProcess());

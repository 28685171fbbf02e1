namespace XenFastPath.Bench;

internal static class Categories
{
    /// <summary>What the control process does, which may allocate. Everything else is the data path, which must not: the tests see to it.</summary>
    public const string Control = "control";
}

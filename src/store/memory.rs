/// M
pub struct MemoryStore;
